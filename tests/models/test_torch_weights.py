"""Files of weights as PyTorch and training scripts write them, read without running their code."""

import argparse
import pathlib

import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

from jaxeff.errors import UsageError
from models import torch_weights

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install -e '.[bench]'")
references = pytest.importorskip("tests.models.references", reason="needs torchvision")

NAME = "squeezenet1_1"


@pytest.fixture(scope="module")
def network():
    return references.create(NAME, num_classes=2, seed=0)


@pytest.fixture(scope="module")
def expected(network):
    return {key: value.numpy() for key, value in network.state_dict().items()}


def assert_read(path, expected):
    """The file gives the network of two classes whose state dict is `expected`."""
    read = torch_weights.read_state_dict(path)
    assert torch_weights.num_classes(NAME, read) == 2
    flat = traverse_util.flatten_dict(torch_weights.convert(NAME, read)["params"])
    ours = {torch_weights.torch_name(("params", *path)): value for path, value in flat.items()}
    assert ours.keys() == expected.keys()
    kernel = ours["features.0.weight"]
    np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), expected["features.0.weight"])
    np.testing.assert_array_equal(ours["classifier.1.bias"], expected["classifier.1.bias"])


def prefixed(prefix):
    return lambda network: {prefix + key: value for key, value in network.state_dict().items()}


CONTENTS = {
    "a plain state dict": lambda network: network.state_dict(),
    "parameters": lambda network: dict(network.named_parameters()),
    "half precision": lambda network: {k: v.bfloat16() for k, v in network.state_dict().items()},
    "DataParallel": lambda network: torch.nn.DataParallel(network).state_dict(),
    "torch.compile": lambda network: torch.compile(network).state_dict(),
    "both": prefixed("module._orig_mod."),
    "Lightning": lambda network: {"state_dict": prefixed("model.")(network), "epoch": 3},
    "Lightning, compiled": lambda network: {"state_dict": prefixed("net._orig_mod.")(network)},
    "state_dict": lambda network: {"state_dict": network.state_dict(), "arch": "squeezenet"},
    "model_state_dict": lambda network: {"loss": 0.1, "model_state_dict": network.state_dict()},
    "model": lambda network: {"model": network.state_dict(), "optimizer": {"state": {}}},
    "model_ema": lambda network: {
        "model_ema": torch.optim.swa_utils.AveragedModel(network).state_dict()
    },
    "one below the other": lambda network: {"model": {"state_dict": prefixed("module.")(network)}},
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_training_scripts_save_is_read(network, expected, tmp_path, kind):
    if kind == "half precision":
        expected = {k: v.bfloat16().float().numpy() for k, v in network.state_dict().items()}
    torch.save(CONTENTS[kind](network), tmp_path / "weights.pth")
    assert_read(tmp_path / "weights.pth", expected)


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.ckpt", "w.pth.tar", "W.PTH", "W.Pth.Tar"])
def test_a_file_may_end_as_is_usual(network, expected, tmp_path, name):
    torch.save(network.state_dict(), tmp_path / name)
    assert_read(tmp_path / name, expected)


def test_safetensors_may_be_upper_case_and_bfloat16(network, expected, tmp_path):
    safetensors.numpy.save_file(expected, tmp_path / "W.SAFETENSORS")
    assert_read(tmp_path / "W.SAFETENSORS", expected)
    half = {k: v.bfloat16() for k, v in network.state_dict().items()}
    from safetensors.torch import save_file

    save_file(half, tmp_path / "half.safetensors")
    assert_read(tmp_path / "half.safetensors", {k: v.float().numpy() for k, v in half.items()})


def test_a_name_that_begins_like_a_wrapper_is_kept():
    """The names of MobileNet v1 begin with `model.` themselves, wrapped or not."""
    wanted = torch_weights._shapes("mobilenet_v1_x0_25", {"num_classes": 3})
    arrays = {
        torch_weights.torch_name(path): np.zeros(
            tuple(np.array(shape)[{4: [3, 2, 0, 1], 2: [1, 0]}.get(len(shape), [0])]), np.float32
        )
        for path, shape in wanted.items()
    }
    assert any(key.startswith("model.") for key in arrays)
    for prefix in ("", "model.", "module.model."):
        given = {prefix + key: value for key, value in arrays.items()}
        assert torch_weights.num_classes("mobilenet_v1_x0_25", given) == 3
        torch_weights.convert("mobilenet_v1_x0_25", given)


def error(path):
    with pytest.raises(UsageError) as raised:
        torch_weights.read_state_dict(path)
    assert "\n" not in str(raised.value)
    assert "weights_only" not in str(raised.value), "advises to run the file's code"
    return str(raised.value)


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (lambda path: {"weight": Touch(path)}, "getattr"),
        (lambda path: {"model": {}, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        (lambda path: torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
    ids=["code", "arguments", "a whole module"],
)
def test_a_file_that_needs_its_code_run_is_refused(tmp_path, content, named):
    torch.save(content(tmp_path / "ran"), tmp_path / "weights.pth")
    message = error(tmp_path / "weights.pth")
    assert named in message
    assert "torch.save(model.state_dict(), FILE)" in message
    assert not (tmp_path / "ran").exists()


def test_what_holds_no_weights_says_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "weights.pth")
    message = error(tmp_path / "weights.pth")
    assert "epoch, optimizer" in message
    torch.save([torch.zeros(2)], tmp_path / "weights.pth")
    assert "list" in error(tmp_path / "weights.pth")


def test_a_broken_file_or_a_file_of_another_kind_is_one_line(tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"no weights at all")
    assert "weights.pth" in error(tmp_path / "weights.pth")
    torch.save({"a": torch.zeros(100)}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:300])
    assert "cut.pth" in error(tmp_path / "cut.pth")
    (tmp_path / "weights.h5").write_bytes(b"")
    assert ".pth.tar" in error(tmp_path / "weights.h5")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(expected, value):
    broken = {key: array.copy() for key, array in expected.items()}
    broken["features.0.weight"][0, 0, 0, :2] = value
    broken["classifier.1.bias"][0] = value
    with pytest.raises(UsageError, match=r"features\.0\.weight holds 2 of 1728 .* 1 more"):
        torch_weights.convert(NAME, broken)


def test_a_small_file_that_says_that_it_is_huge_is_refused(tmp_path):
    path = tmp_path / "views.pth"
    torch.save({"features.0.weight": torch.zeros(1).expand(10**12)}, path)
    with pytest.raises(UsageError, match=r"1,000,000,000,000 numbers and has [\d,]+ bytes"):
        torch_weights.read_state_dict(path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("features.0.weight", np.broadcast_to(np.float32(0), (10**5, 10**5, 9, 9)), "do not fit"),
        ("classifier.1.bias", np.broadcast_to(np.float32(0), (10**12,)), "classes apart"),
        ("features.0.bias", np.zeros(64, np.complex64), "complex64, and a weight is a real number"),
        ("features.0.bias", np.array(["a"] * 64), "and a weight is a real number"),
        ("classifier.1.bias", np.float32(0), "do not fit"),
    ],
)
def test_arrays_that_cannot_be_weights_are_named_before_they_are_read(
    expected, key, value, message
):
    with pytest.raises(UsageError, match=message):
        torch_weights.convert(NAME, {**expected, key: value})
