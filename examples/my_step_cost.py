"""What any training step costs: here one of Flax NNX, whose state changes in place.

    jaxeff count --fn=examples/my_step_cost.py:step

prints the operations of the step by kind and layer, by XLA's count and by ours. The function
`step_arguments` beside it makes the arguments; shapes are enough. The same in Python:
`jaxeff.compute.step_cost(step, *step_arguments())`.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class Classifier(nnx.Module):
    """A convolution, its mean over the image, and a dense layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv = nnx.Conv(3, 32, (3, 3), strides=2, rngs=rngs)
        self.dense = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, images):
        """Images `[N, H, W, 3]` to logits `[N, 10]`."""
        return self.dense(nnx.relu(self.conv(images)).mean((1, 2)))


def step(model: Classifier, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array):
    """Changes `model` and `optimizer`; returns the loss."""

    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def step_arguments():
    """The arguments of `step`; arrays may be shapes alone."""
    model = Classifier(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(1e-3), wrt=nnx.Param)
    images = jax.ShapeDtypeStruct((64, 32, 32, 3), jnp.float32)
    return model, optimizer, images, jax.ShapeDtypeStruct((64,), jnp.int32)
