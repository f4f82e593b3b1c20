"""What setup.cfg cannot say: in a wheel the commands and the models lie inside `jaxeff`.

Installed by names of their own, `models` and `launch` would stand in the way of a user's.
"""

from setuptools import find_namespace_packages, find_packages, setup

PROGRAM = ("launch", "models")
programs = [
    name for top in PROGRAM for name in (top, *(f"{top}.{n}" for n in find_namespace_packages(top)))
]

setup(
    packages=[*find_packages(include=["jaxeff", "jaxeff.*"])]
    + [f"jaxeff._program.{name}" for name in programs],
    package_dir={f"jaxeff._program.{top}": top for top in PROGRAM},
)
