import os
import subprocess
import sys

import pytest

from jaxeff import environment

PROGRAM = """
import os, pathlib, sys
from jaxeff import environment
environment._HUGE_PAGES_POLICY = pathlib.Path({policy!r})
with open({starts!r}, "a") as file:
    file.write("started\\n")
environment.restart_with_huge_pages()
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has huge pages")
@pytest.mark.parametrize(
    ("policy", "own", "expected", "starts"),
    [
        ("always [madvise] never", None, environment.HUGE_PAGES["GLIBC_TUNABLES"], 2),
        ("[always] madvise never", None, None, 1),
        ("always madvise [never]", None, None, 1),
        (None, None, None, 1),
        ("always [madvise] never", "glibc.malloc.arena_max=1", "glibc.malloc.arena_max=1", 1),
    ],
)
def test_a_command_starts_anew_once_where_huge_pages_must_be_asked_for(
    tmp_path, policy, own, expected, starts
):
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    program = tmp_path / "program.py"
    program.write_text(
        PROGRAM.format(policy=str(tmp_path / "enabled"), starts=str(tmp_path / "starts"))
    )
    variables = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    if own is not None:
        variables["GLIBC_TUNABLES"] = own
    done = subprocess.run(
        [sys.executable, str(program), "--name=a b", "-x"],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == f"{['--name=a b', '-x']} {expected}"
    assert (tmp_path / "starts").read_text().count("started") == starts
