import pytest

from jaxeff.nn import onednn


@pytest.fixture(params=["0", "1"], ids=["xla", "onednn"])
def with_and_without_onednn(request, monkeypatch):
    """Runs a test by XLA's arithmetic and, where there is oneDNN, by that."""
    if request.param == "1" and not onednn.available():
        pytest.skip("this jaxlib carries no oneDNN, or not one that was tried")
    monkeypatch.setenv(onednn.SWITCH, request.param)
