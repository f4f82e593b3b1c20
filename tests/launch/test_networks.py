"""Networks of a user's own files: what runs, what is recorded, what is refused and how."""

import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest

from jaxeff import data, records, tasks, train
from jaxeff.errors import UsageError
from tests.launch.commands import ROOT, assert_one_line_and_exit_2, run_quickly

sys.path.append(str(ROOT / "launch"))

import networks
import user_files

NET = '''"""A net."""

from flax import linen as nn

PUBLISHED = "2026-05-01"
URL = "https://example.org/mynet"


class MyNet(nn.Module):
    num_classes: int
    width: int = 8

    @nn.compact
    def __call__(self, images, train):
        x = nn.relu(nn.Dense(self.width)(images.mean((1, 2))))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(self.num_classes)(x)
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file into the current folder, an empty one."""
    monkeypatch.chdir(tmp_path)

    def write_file(text, name="mynet.py"):
        (tmp_path / name).write_text(text)
        return f"{name}:MyNet"

    return write_file


def _task():
    return tasks.ImageClassification(data.load("synthetic"), image_size=8)


def _cost(specification, args="", dtype="float32"):
    """Counts a training step, which traces all of it; errors as the commands tell them."""
    with user_files.errors_explained():
        module = networks.load(specification, args).make_module(10, dtype)
        recipe = train.Recipe("own", epochs=1, batch_size=8, optimizer=optax.sgd(0.1))
        return train.training_cost(module, recipe, _task())


def _refusal(specification, args="", dtype="float32"):
    with pytest.raises(UsageError) as caught:
        _cost(specification, args, dtype)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_class_of_a_file_is_a_network_with_its_facts(write):
    spec = networks.load(write(NET), "width=4")
    assert spec.name == "MyNet"
    assert spec.facts == {
        "args": {"width": 4},
        "source": hashlib.sha256(NET.encode()).hexdigest(),
        "published": "2026-05-01",
        "url": "https://example.org/mynet",
    }
    assert spec.sources["mynet.py"] == NET
    # 3 x 4 + 4, scale and bias of 4, 4 x 10 + 10; by the names that Flax gives them.
    module = spec.make_module(10)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), np.zeros((1, 8, 8, 3))))
    assert set(variables["params"]) == {"Dense_0", "BatchNorm_0", "Dense_1"}
    assert _cost("mynet.py:MyNet", "width=4").params == 16 + 8 + 50
    assert pickle.loads(pickle.dumps(spec)).facts == spec.facts


def test_the_network_of_the_documentation_does(write):
    text = (ROOT / "docs" / "own_networks.md").read_text()
    write(text.split("```python\n")[1].split("```")[0])
    # 27 x 32 + 32, scale and bias of 32, 32 x 10 + 10.
    assert _cost("mynet.py:MyNet").params == 27 * 32 + 32 + 64 + 330
    assert networks.load("mynet.py:MyNet").published == "2026-05-01"


def test_packaged_networks_take_arguments_too():
    spec = networks.load("efficientnet_b0", "dropout_rate=0.1")
    assert (spec.name, spec.source, spec.sources) == ("efficientnet_b0", None, {})
    assert spec.facts["args"] == {"dropout_rate": 0.1}
    assert spec.make_module(10).dropout_rate == 0.1
    with pytest.raises(UsageError, match="resnet18 has no argument 'widht'"):
        networks.load("resnet18", "widht=2")
    names = [spec.name for spec in networks.load_all("paper")]
    assert len(names) == 16


def test_arguments_are_python_literals_or_text():
    given = "width=64,depth=3.5,stages=(1,2),act=relu,on=True,none=None,path='a,b',mul=a/b"
    assert networks.parse_args(given) == {
        "width": 64,
        "depth": 3.5,
        "stages": (1, 2),
        "act": "relu",
        "on": True,
        "none": None,
        "path": "a,b",
        "mul": "a/b",
    }
    assert networks.parse_args("") == {}
    for wrong in ("width", "width=", "1=2", "width=1,width=2", "**x", "a={1,2}", "a=1e999"):
        with pytest.raises(UsageError, match="--model_args"):
            networks.parse_args(wrong)


FUNCTION = """
from flax import linen as nn
from flax import nnx

class Net(nn.Module):
    classes: int
    dtype: type
    @nn.compact
    def __call__(self, images):
        return nn.Dense(self.classes, dtype=self.dtype)(images.mean((1, 2)))

def MyNet(num_classes, dtype):
    return Net(num_classes, dtype)

class Nnx(nnx.Module):
    def __init__(self, num_classes, width=4, *, rngs):
        self.inner, self.norm = nnx.Linear(3, width, rngs=rngs), nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.outer = nnx.Linear(width, num_classes, rngs=rngs)
    def __call__(self, images):
        return self.outer(self.dropout(self.norm(self.inner(images.mean((1, 2))))))

def made(num_classes, *, rngs):
    return Nnx(num_classes, 5, rngs=rngs)
"""


def test_functions_and_nnx_modules_are_networks(write):
    write(FUNCTION)
    assert _cost("mynet.py:MyNet", dtype="bfloat16").params == 40
    # 3 w + w, 2 w, 10 w + 10.
    assert _cost("mynet.py:Nnx").params == 4 * 16 + 10
    assert _cost("mynet.py:made").params == 5 * 16 + 10
    assert _cost("mynet.py:Nnx", "width=6").params == 6 * 16 + 10


def test_a_module_of_a_package_is_read_from_the_current_folder(write, tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").write_text("")
    (tmp_path / "nets" / "layers.py").write_text("WIDTH = 4\n")
    text = NET.replace("width: int = 8", "width: int = WIDTH")
    (tmp_path / "nets" / "big.py").write_text(f"from nets.layers import WIDTH\n{text}")
    spec = networks.load("nets.big:MyNet")
    assert {"nets/big.py", "nets/layers.py"} <= set(spec.sources)
    assert _cost("nets.big:MyNet").params == 16 + 8 + 50


@pytest.mark.parametrize(
    ("flag", "flags_of_training"),
    [
        ("", lambda train: {}),
        ("train", lambda train: {"train": train}),
        ("training", lambda train: {"training": train}),
        ("is_training", lambda train: {"is_training": train}),
        ("deterministic", lambda train: {"deterministic": not train}),
        ("use_running_average", lambda train: {"use_running_average": not train}),
    ],
)
def test_whether_it_trains_is_told_in_the_words_of_the_signature(write, flag, flags_of_training):
    """The network returns 1 or 0 as its own flag says."""
    value = f"float({flag})" if flag else "0.5"
    write(
        "import jax.numpy as jnp\nfrom flax import linen as nn\n"
        "class MyNet(nn.Module):\n"
        "    num_classes: int\n"
        f"    def __call__(self, images{f', {flag}' if flag else ''}):\n"
        f"        return jnp.full((len(images), self.num_classes), {value})\n"
    )
    module = networks.load("mynet.py:MyNet").make_module(3)
    for training in (True, False):
        (expected,) = flags_of_training(training).values() or (0.5,)
        outputs = module.apply({}, np.zeros((2, 8, 8, 3)), train=training)
        np.testing.assert_array_equal(outputs, np.full((2, 3), expected, np.float32))


HEAD = "import jax, jax.numpy as jnp\nfrom flax import linen as nn\n"
CLASS = HEAD + "class MyNet(nn.Module):\n    num_classes: int\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = (\n\ndef f(:\n", "mynet.py, line 3: invalid syntax"),
        ("\n\n1 / 0\n", "mynet.py, line 3: ZeroDivisionError: division by zero"),
        ("import nothing_of_this_name\n", "mynet.py, line 1: ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "mynet.py, line 2: SystemExit: 3"),
        ("class MyNets:\n    pass\n", "mynet.py: has no MyNet: did you mean MyNets?"),
        ("MyNet = 3\n", "MyNet is a int, and must be a Flax module class"),
        ("class MyNet:\n    pass\n", "MyNet is no Flax module"),
        (HEAD + "class MyNet(nn.Module):\n    classes: int\n", "has no field num_classes"),
        ("def MyNet(classes):\n    pass\n", "line 1: MyNet has no argument num_classes"),
        (HEAD + "def MyNet(num_classes):\n    return 3\n", "MyNet returns a int"),
        (CLASS + "    width: int\n    def __call__(self, x): pass\n", "MyNet needs width"),
        (
            CLASS + "    def __call__(self, train): pass\n",
            "line 5: __call__ of MyNet does not take",
        ),
        (
            CLASS + "    def __call__(self, x, mask): pass\n",
            "line 5: __call__ of MyNet needs 'mask'",
        ),
        (
            CLASS + "    def __call__(self, x):\n        return x @ jnp.ones((4, 4))\n",
            "mynet.py, line 6: TypeError: dot_general requires contracting dimensions",
        ),
        (
            CLASS + "    def __call__(self, x):\n        return jnp.ones((len(x), 7))\n",
            "mynet.py, line 5: returns shape (1, 7) for 1 examples, and must return one array of "
            "shape (1, 10)",
        ),
        (
            CLASS + "    def __call__(self, x):\n        return jnp.ones((len(x), 10), int)\n",
            "mynet.py, line 5: returns int32, and must return floats",
        ),
        (CLASS + "    def __call__(self, x):\n        return 1, 2\n", "line 5: returns tuple"),
        (
            CLASS + "    @nn.compact\n    def __call__(self, x):\n"
            "        if x.sum() > 0: pass\n        return x\n",
            "mynet.py, line 7: TracerBoolConversionError",
        ),
        ("PUBLISHED = 'May 2026'\n" + NET.replace("PUBLISHED", "P"), "line 1: PUBLISHED is 'May"),
        ("URL = 'mynet'\n" + NET.replace("URL", "U"), "mynet.py, line 1: URL is 'mynet'"),
    ],
)
def test_a_file_that_does_not_do_is_one_line_with_its_place(write, text, words):
    assert words in _refusal(write(text))


def test_what_is_asked_of_a_network_that_it_cannot_do_is_refused(write):
    specification = write(NET)
    assert "no argument 'widht': did you mean width?" in _refusal(specification, "widht=2")
    assert "num_classes is not among the arguments" in _refusal(specification, "num_classes=2")
    assert "--dtype=bfloat16" in _refusal(specification, dtype="bfloat16")
    assert "there is no file" in _refusal("nowhere.py:MyNet")
    assert "there is no module nowhere" in _refusal("nowhere.at.all:MyNet")
    assert "which network of it?" in _refusal("mynet.py")
    assert "unknown model 'mynet': known are alexnet; " in _refusal("mynet")
    backward = CLASS + (
        "    @nn.compact\n"
        "    def __call__(self, x):\n"
        "        @jax.custom_vjp\n"
        "        def f(x): return x\n"
        "        f.defvjp(lambda x: (x, None), lambda _, g: 1 / 0)\n"
        "        w = self.param('w', nn.initializers.ones, (10,))\n"
        "        return f(w)[None] + jnp.zeros((len(x), 1))\n"
    )
    assert "backward.py, line 9: ZeroDivisionError" in _refusal(
        write(backward, "backward.py"),
    )


def test_a_network_that_writes_in_evaluation_is_refused_with_its_line(write):
    specification = write(
        CLASS + "    @nn.compact\n    def __call__(self, x):\n"
        "        seen = self.variable('seen', 'n', lambda: jnp.zeros(()))\n"
        "        seen.value += 1\n"
        "        return nn.Dense(self.num_classes)(x.mean((1, 2)))\n"
    )
    assert "mynet.py, line 8: ModifyScopeVariableError" in _refusal(specification)


def test_what_lies_beside_the_file_is_what_it_imports_and_ours_stay_ours(write, tmp_path):
    import models

    for name in ("models", "cli", "data", "counting"):
        (tmp_path / f"{name}.py").write_text(f"NAME = 'her {name}'\n")
    text = "import cli, counting, data, models\n"
    text += "NAMES = [m.NAME for m in (cli, counting, data, models)]\n"
    spec = networks.load(write(text + NET, "beside.py"))
    file = user_files.run_file(tmp_path / "beside.py")
    assert file.constant("NAMES") == [f"her {n}" for n in ("cli", "counting", "data", "models")]
    assert sys.modules["models"] is models
    assert {"beside.py", "models.py", "data.py"} <= set(spec.sources)
    # A change of what the file imports is a change of the network.
    (tmp_path / "models.py").write_text("NAME = 'his models'\n")
    code = "import networks; print(networks.load('beside.py:MyNet').source)"
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'launch'}:{ROOT}"}
    again = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert len(again.stdout) == 65, again.stderr
    assert again.stdout.decode().strip() != spec.source


COMMON = ("--dataset=synthetic", "--image_size=8", "--workdir=run")


@pytest.mark.slow
def test_a_run_keeps_its_file_goes_on_with_the_same_and_is_evaluated_from_the_copy(write, tmp_path):
    write(NET)
    flags = ("--model=mynet.py:MyNet", "--model_args=width=4", "--epochs=1", *COMMON)
    first = run_quickly("train", *flags, cwd=tmp_path)
    assert first.returncode in (0, 3), first.stderr
    record = records.read(tmp_path / "run" / "record.json")
    spec = networks.load("mynet.py:MyNet", "width=4")
    facts = dataclasses.asdict(record.model)
    assert facts == {"name": "MyNet", "params": 74, **spec.facts}
    assert (tmp_path / "run" / "source" / "mynet.py").read_text() == NET
    again = run_quickly("train", *flags, cwd=tmp_path)
    assert "already complete" in again.stdout, again.stderr
    changed = NET.replace("nn.relu", "nn.silu").replace('"""A net."""\n', "# One.\n# Two.\n")
    write(changed)
    assert_one_line_and_exit_2(
        run_quickly("train", *flags, cwd=tmp_path),
        "mynet.py changed since this run began: 3 lines added, 2 removed",
    )
    evaluated = run_quickly("evaluate", "--workdir=run", "--format=json", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert f'"top1": {record.curve[-1].metrics["top1"]}' in evaluated.stdout
    copy = tmp_path / "run" / "source" / "mynet.py"
    copy.write_text(changed)
    assert_one_line_and_exit_2(
        run_quickly("evaluate", "--workdir=run", cwd=tmp_path), "changed since the run trained"
    )


def test_a_batch_norm_of_ones_own_is_refused_on_several_devices_with_its_line(write, tmp_path):
    write(NET.replace("nn.BatchNorm(use_running_average=not train)(x)", "x - x.mean(0)"))
    flags = ("--model=mynet.py:MyNet", "--epochs=1", *COMMON)
    refused = run_quickly("train", *flags, cwd=tmp_path, devices=4)
    assert_one_line_and_exit_2(refused, "mynet.py, line 14: what MyNet computes depends on how")


def test_every_command_that_takes_models_takes_files(write, tmp_path):
    write(NET)
    counted = run_quickly(
        "count", "--models=mynet.py:MyNet,alexnet", "--image_size=64", "--format=csv", cwd=tmp_path
    )
    assert counted.returncode == 0, counted.stderr
    # 3 x 8 + 8 + 16 + 8 x 1000 + 1000 parameters.
    assert counted.stdout.splitlines()[1].startswith("MyNet,9048,")
    planned = run_quickly("plan", "--models=mynet.py:MyNet", "--image_size=64", cwd=tmp_path)
    assert_one_line_and_exit_2(planned, "prints no epochs for MyNet: give --epochs")
    benchmarked = run_quickly("benchmark", "step", "--models=mynet.py:MyNet", cwd=tmp_path)
    assert_one_line_and_exit_2(benchmarked, "PyTorch has no mynet.py:MyNet", "--against=jit")


def test_an_error_in_a_worker_process_is_told_with_its_line(write, tmp_path):
    write(CLASS + "    def __call__(self, x):\n        return x @ jnp.ones((4, 4))\n")
    counted = run_quickly("count", "--models=mynet.py:MyNet,alexnet", cwd=tmp_path)
    assert_one_line_and_exit_2(counted, "mynet.py, line 6: TypeError")


@pytest.mark.parametrize("text", ["a=1\nb=2", "a=1)(b=2", "a=" + "(" * 999, "a=" + "-" * 999])
def test_arguments_that_are_none_are_one_line(text):
    """Found by fuzzing: line breaks, a second call, and depth at which Python's parser ends."""
    with pytest.raises(UsageError, match="--model_args=") as error:
        networks.parse_args(text)
    assert str(error.value).isprintable()
