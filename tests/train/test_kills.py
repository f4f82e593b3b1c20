"""Runs that are killed at random moments end like one that was not.

JAXEFF_KILLS=200 pytest -m slow -n 0 -s tests/train/test_kills.py
"""

import json
import os
import subprocess
import sys

import pytest

from tests.train.kills import ROOT


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_lose_nothing(tmp_path):
    kills = int(os.environ.get("JAXEFF_KILLS", "20"))
    finished = subprocess.run(
        [sys.executable, "-m", "tests.train.kills", str(tmp_path), str(kills), "0"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    *_, last = finished.stdout.splitlines()
    print(last)
    figures = json.loads(last)
    assert figures["kills"] >= kills
    assert figures["lost"] == []
