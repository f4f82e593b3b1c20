"""Writes `golden/<name>.json` from PyTorch's models, for tests that need no PyTorch.

    pip install torch==2.13.0 && pip install --no-deps torchvision==0.28.0
    python -m tests.models.make_golden [names …]

Without names, all of them. Each file holds what the reference computes from the weights and images
of `seeded.py`, with dropout and stochastic depth off.
"""

import json
import pathlib
import sys

import numpy as np

from tests.models import references, seeded

FOLDER = pathlib.Path(__file__).with_name("golden")
# Architectures without a branch of their own are compared live by `test_fidelity.py -m slow`.
SIZES = (224, 64)
TRAIN_SIZE = 64


def golden(name: str) -> dict:
    """What the PyTorch implementation of architecture `name` computes."""
    import torch

    start = references.create(name, num_classes=1000, seed=0)
    module = references.create(name, num_classes=seeded.NUM_CLASSES, seed=0)
    references.set_seeded_weights(module)
    result = {
        "params": sum(p.numel() for p in start.parameters()),
        "macs": references.forward_macs(start, 224),
        "start": {key: _statistics(p.detach().numpy()) for key, p in start.named_parameters()},
        "logits": {},
    }
    module.eval()
    for size in SIZES:
        with torch.no_grad():
            logits = module(references.images(size))
        result["logits"][str(size)] = logits.numpy().tolist()
    outcome = references.train_step(module, TRAIN_SIZE)
    result["loss"] = outcome["loss"]
    for part in ("gradients", "running"):
        result[part] = {key: seeded.fingerprint(key, value) for key, value in outcome[part].items()}
    return result


def _statistics(values):
    """Mean, deviation and largest magnitude."""
    values = values.astype(np.float64)
    return [float(values.mean()), float(values.std()), float(np.abs(values).max())]


def _rounded(value):
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _rounded(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_rounded(child) for child in value]
    return value


def main():
    """Writes the files that the command line names."""
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or references.GOLDEN:
        text = json.dumps(_rounded(golden(name)), separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(text + "\n")
        print(f"{name}: {len(text) // 1024} KiB", flush=True)


if __name__ == "__main__":
    main()
