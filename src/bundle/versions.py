"""The versions of Python and of the packages that a trained model and its pickle depend on."""

import platform
from collections.abc import Mapping
from importlib import metadata

# By the names they are installed under. OpenCV has four, this is the one of our requirements.
PACKAGES = (
    "torch", "fastai", "timm", "fastcore", "plum-dispatch", "pillow", "opencv-python-headless",
)


def installed() -> dict[str, str]:
    """Name → version of all of them, as they are here."""
    return {name: _version(name) for name in ("python", *PACKAGES)}


def differing(made: Mapping[str, str]) -> list[str]:
    """`name version (here version)` of those in `made` that are others here.

    Builds of one version (+cpu, +cu128) count as equal. Older cards name fewer packages.
    """
    here = {name: _version(name).partition("+")[0] for name in made}
    there = {name: version.partition("+")[0] for name, version in made.items()}
    return [f"{n} {there[n]} (here {here[n]})" for n in made if there[n] != here[n]]


def _version(name: str) -> str:
    try:
        return platform.python_version() if name == "python" else metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
