import subprocess
import sys


def test_a_step_needs_neither_checkpoints_nor_images():
    """What `launch/count.py` and `launch/benchmark.py step` use loads a quarter less memory."""
    code = (
        "import sys; from jaxeff import tasks, train; from jaxeff.train import parallel, steps; "
        "train.resolve; train.training_cost; parallel.to_devices; "
        "print({'orbax.checkpoint', 'grain', 'cv2', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
