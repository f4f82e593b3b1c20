"""jaxeff: how much computation it takes to train a network to a fixed accuracy."""

__version__ = "0.9.0"
