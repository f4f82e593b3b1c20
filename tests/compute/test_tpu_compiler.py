import importlib.util
import json
import os
import subprocess
import sys

import pytest

from jaxeff.compute import tpu_compiler
from jaxeff.compute.hardware import MEMORIES
from jaxeff.errors import UsageError

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="the TPU compiler is not installed: pip install libtpu",
)


def test_slices_are_named_as_clouds_name_them():
    v3 = tpu_compiler.parse_slice("TPU v3", "2x2")
    assert (v3.chips, v3.devices, v3.name) == (4, 8, "v3:2x2")
    v5p = tpu_compiler.parse_slice("TPU v5p", "2x2x4")
    assert (v5p.chips, v5p.devices, v5p.name) == (16, 16, "v5p:2x2x4")
    assert tpu_compiler.parse_slice("TPU7x", "2x2x1").devices == 8


@pytest.mark.parametrize(
    ("device_kind", "chips", "topology"),
    [
        ("TPU v5e", 1, (1, 1)),
        ("TPU v5e", 8, (2, 4)),
        ("TPU v5e", 256, (16, 16)),
        ("TPU v4", 4, (2, 2, 1)),
        ("TPU v4", 8, (2, 2, 2)),
        ("TPU v5p", 512, (8, 8, 8)),
    ],
)
def test_a_number_of_chips_is_the_slice_that_is_offered(device_kind, chips, topology):
    assert tpu_compiler.square_slice(device_kind, chips).topology == topology


@pytest.mark.parametrize(
    ("device_kind", "topology"),
    [("TPU v5e", "4x4x4"), ("TPU v4", "4x4"), ("TPU v5e", "0x4"), ("NVIDIA A100", "2x2")],
)
def test_what_is_no_slice_is_one_line(device_kind, topology):
    with pytest.raises(UsageError):
        tpu_compiler.parse_slice(device_kind, topology)
    with pytest.raises(UsageError, match="power of two"):
        tpu_compiler.square_slice("TPU v5e", 6)


def test_operations_without_an_estimate_do_not_spoil_the_others():
    # ResNet-50 on a v3, then SqueezeNet on a v5e, whose program has eleven renamings of memory.
    assert tpu_compiler.own_estimate(0.0285455) == (0.0285455, 0)
    seconds, unestimated = tpu_compiler.own_estimate(-10.988883)
    assert (seconds, unestimated) == (pytest.approx(0.011117), 11)
    assert tpu_compiler.own_estimate(float("nan")) == (None, None)


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (20.50G) exceeds available HBM (15.75G). HLO module: f.",
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. "
        "Exceeded hbm capacity by 4.75G.",
    ],
)
def test_a_step_that_does_not_fit_says_what_it_needs(message):
    found = tpu_compiler.read_error(RuntimeError(message), 1.0)
    assert not found.fits
    assert (found.needed_bytes, found.available_bytes) == (20.5 * 2**30, 15.75 * 2**30)
    with pytest.raises(UsageError, match="net_util"):
        tpu_compiler.read_error(RuntimeError("INTERNAL: RET_CHECK failure (net_util.cc)"), 1.0)


def test_the_largest_batch_fills_what_the_state_leaves():
    sizes = {"needed_bytes": 3e9, "fixed_bytes": 1e9, "available_bytes": 15e9}
    assert tpu_compiler.largest_batch(batch_size=100, **sizes) == 700
    assert tpu_compiler.largest_batch(batch_size=100, **sizes | {"available_bytes": 5e8}) == 0


@pytest.mark.parametrize(
    ("needed", "limit"),
    [
        # Gradients that do not grow, as AlexNet's; in proportion; with a step in between.
        (lambda n: 2e9 + 4e6 * n, 3250),
        (lambda n: 1e9 + 20e6 * n, 700),
        (lambda n: 1e9 + 20e6 * n + (1e9 if n > 300 else 0), 650),
        # From there on the compiler computes things twice, and all fits to 900.
        (lambda n: 1e9 + 20e6 * n if n < 690 else 14.9e9 if n <= 900 else 16e9, 690),
        (lambda n: 1e9 + 20e9 * n, 0),
        # The compiler lays out larger steps better, as AlexNet's.
        (lambda n: 1e9 + (20e6 if n < 500 else 12e6) * n, 1166),
    ],
)
@pytest.mark.parametrize("begin", [1, 100, 5000])
def test_the_largest_batch_is_one_that_was_seen_to_fit(needed, limit, begin):
    asked = {}

    def ask(examples):
        assert examples not in asked
        asked[examples] = needed(examples) <= 15e9, needed(examples)
        return asked[examples]

    found = tpu_compiler.search_largest_batch(
        ask, batch_size=begin, first=ask(begin), fixed_bytes=1e9, available_bytes=15e9
    )
    assert found == 0 if limit == 0 else asked[found][0]
    assert 0.97 * limit - 1 <= found <= 900 if limit == 690 else 0.97 * limit - 1 <= found <= limit
    assert len(asked) <= 12


PROBE = """
import dataclasses, json, jax, jax.numpy as jnp
from jaxeff.compute import tpu_compiler

def step(w, x):
    return w + 1, jax.lax.pmean((x @ w).mean(), "b")

answers = {}
for kind in ("TPU v2", "TPU v3", "TPU v4", "TPU v5e", "TPU v5p", "TPU v6e", "TPU7x"):
    place = tpu_compiler.square_slice(kind, 4)
    devices = place.tpu_devices()
    assert len(devices) == place.devices, kind
    w = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    few, many = (
        tpu_compiler.compile_replicated(
            step, w, jax.ShapeDtypeStruct((n * len(devices), 256), jnp.float32), "b", devices
        )
        for n in (1024, 2**28)
    )
    answers[kind] = [dataclasses.asdict(few), dataclasses.asdict(many), place.available_bytes]
print(json.dumps(answers))
"""


@pytest.mark.slow
@needs_libtpu
def test_each_generation_compiles_and_says_what_memory_it_has():
    environment = os.environ | tpu_compiler.ENVIRONMENT
    finished = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, env=environment, timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    for kind, (few, many, available) in json.loads(finished.stdout.splitlines()[-1]).items():
        assert few["fits"], kind
        # Two operations a multiply-accumulate, and the matrix and its part of the batch to read.
        assert few["flops"] == pytest.approx(2 * 1024 * 256 * 256, rel=0.05)
        assert few["argument_bytes"] >= 4 * (256 * 256 + 1024 * 256)
        assert not many["fits"]
        assert many["needed_bytes"] >= 4 * 256 * 2**28
        assert many["available_bytes"] == available
        assert 0.9 * MEMORIES[kind][0] < available < 1.01 * MEMORIES[kind][0]
