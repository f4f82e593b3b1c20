import pytest

from jaxeff.train import output


@pytest.fixture(autouse=True, scope="package")
def _undrawn():
    """No curve is drawn at a run's end, which takes as long as its steps.

    Those of `test_loop.py` that see to its files are; so are all that a command trains.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "draw_curve", lambda record, metrics: b"")
        yield
