import pytest

from jaxeff import cpu


@pytest.fixture
def kernels():
    """`kernels(*names)` installs these of `jaxeff.cpu.NAMES` alone; without names, none."""

    def install(*names):
        cpu.install(without=[name for name in cpu.NAMES if name not in names])

    yield install
    cpu.uninstall()
