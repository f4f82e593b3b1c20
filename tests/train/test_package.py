import subprocess
import sys


def test_a_step_needs_neither_checkpoints_nor_pictures():
    """What `launch/count.py` and `launch/benchmark.py step` use loads a quarter less memory."""
    code = (
        "import sys; from jaxeff import train; from jaxeff.train import devices, steps; "
        "train.resolve; train.make_optimizer; train.training_cost; train.to_devices; "
        "print({'orbax.checkpoint', 'grain', 'cv2', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
