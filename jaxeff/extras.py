"""The extras of the package: what each of them brings, and the line that names a missing one.

Counting a step (`jaxeff.compute`) takes JAX and NumPy alone. Whatever else is imported here belongs
to an extra, so that an engineer who counts need not install what trains, nor a reader of records
what draws the report.
"""

import importlib.util
import pathlib
import shlex

from jaxeff.errors import UsageError

# The modules that each extra is there for; `setup.cfg` has their distributions and versions.
MODULES: dict[str, tuple[str, ...]] = {
    "train": (
        "absl",
        "cv2",
        "etils",
        "flax",
        "grain",
        "jsonschema",
        "jsonschema_rs",
        "matplotlib",
        "optax",
        "orbax.checkpoint",
        "PIL",
        "rich",
        "safetensors",
        "scipy",
        "simplejpeg",
        "sklearn",
        "tensorboard",
        "yaml",
    ),
    "report": (
        "absl",
        "jinja2",
        "jsonschema",
        "jsonschema_rs",
        "markupsafe",
        "matplotlib",
        "plotly",
        "rich",
        "scipy",
    ),
    "tfds": ("tensorflow_datasets", "array_record", "importlib_resources"),
    "hf": ("pyarrow",),
    "gcs": ("etils", "fsspec", "gcsfs"),
    "tpu": ("libtpu",),
    "bench": ("torch", "torchvision"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}

# What the program of `launch/` named here takes; the others take what training does.
OF_COMMANDS = {"report": "report"}

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def require(extra: str, what: str) -> None:
    """Checks that the modules of `extra` are installed; imports none of them.

    Args:
      extra: of `MODULES`.
      what: what the user asked for, such as `--dataset=hf`.

    Raises:
      UsageError: one is missing; says which, and the command that installs the extra.
    """
    missing = [name for name in MODULES[extra] if not _is_installed(name)]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" * (len(missing) > 3))
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(f"{what} needs {named}, which {verb} not installed: {_command(extra)}")


def _is_installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # Of the package that it lies in.
        return False


def _command(extra):
    if not (_ROOT / "setup.cfg").is_file():  # Installed from a wheel.
        return f"pip install 'jaxeff[{extra}]'"
    place = "." if pathlib.Path.cwd() == _ROOT else str(_ROOT)
    return f"pip install -e {shlex.quote(f'{place}[{extra}]')}"
