"""Where Kaggle mounts what is attached to a kernel: below /kaggle/input, in one of two forms.

    datasets/OWNER/NAME    models/OWNER/NAME/FRAMEWORK/VARIATION/VERSION
    notebooks/OWNER/NAME   competitions/NAME

or, as it was before, NAME alone in place of each. A path may be written in either form.
"""

from pathlib import Path

KAGGLE_INPUT = Path("/kaggle/input")
OWNED = ("datasets", "models", "notebooks")
PREFIX = dict.fromkeys(OWNED, 2) | {"competitions": 1}  # parts that stand before NAME


def parts(path: str | Path) -> tuple[str, ...]:
    """The parts of `path` below Kaggle's input; none when it lies elsewhere."""
    path = Path(path)
    return path.relative_to(KAGGLE_INPUT).parts if path.is_relative_to(KAGGLE_INPUT) else ()


def resolve(path: Path) -> Path:
    """`path`, or what it names in the other form if only that is mounted.

    It stays as it is when nothing is there, or when two owners have something of that name.
    """
    below = parts(path)
    if path.exists() or not below:
        return path
    mounted = [other for other in _other_form(below) if other.exists()]
    return mounted[0] if len(mounted) == 1 else path


def _other_form(below: tuple[str, ...]) -> list[Path]:
    if below[0] in PREFIX:
        return [KAGGLE_INPUT.joinpath(*below[PREFIX[below[0]] :])]
    owners = [owner for kind in OWNED for owner in sorted((KAGGLE_INPUT / kind).glob("*"))]
    return [owner.joinpath(*below) for owner in (KAGGLE_INPUT / "competitions", *owners)]
