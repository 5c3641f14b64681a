"""The report of `python -m src.competition check`; knows no competition."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition.images import Picture, as_lines, identical_files, look_at_all, some

GROUPS = 5  # of identical files that are named


class Report(NamedTuple):
    """The printed `lines` of a check, and the `obstacles` that keep training from starting."""

    lines: list[str]
    obstacles: list[str]


def report(
    train: pd.DataFrame,
    images: Mapping[str, list[Path]],
    found: dict[str, list[str]],
    obstacles: list[str],
    ignored: list[str],
) -> Report:
    """Describe the rows of train.csv and the `images` of "train" and "test".

    `found` are kinds of faults in tables and folders with the names concerned: they and the
    unreadable files are obstacles too. So is a broken test image, which would otherwise be
    noticed only after a night of training. Files that are converted or `ignored` are none.
    """
    pictures = {split: dict(zip(p, look_at_all(p), strict=True)) for split, p in images.items()}
    broken = {f"unreadable {split} images": _broken(seen) for split, seen in pictures.items()}
    found = broken | found
    converted = [name for seen in pictures.values() for name in _converted(seen)]
    lines = _rows(train)
    for split, seen in pictures.items():
        lines += ["", *_pictures(split, [p for p in seen.values() if not p.problem])]
    lines += ["", *(_line(what, _count(names)) for what, names in found.items())]
    lines += ["", _line("converted to 8-bit RGB", _count(converted))]
    lines += [_line("ignored, hidden or left by a system", _count(ignored))]
    obstacles = [*obstacles, *as_lines(found)]
    return Report(lines + _identical(images) + _verdict(obstacles), obstacles)


def _broken(pictures: Mapping[Path, Picture]) -> list[str]:
    """The files that cannot be used, each with the reason."""
    return [f"{_short(path)} ({p.problem})" for path, p in pictures.items() if p.problem]


def _converted(pictures: Mapping[Path, Picture]) -> list[str]:
    """The files that are no 8-bit colour or grey pictures, each with what it is instead."""
    return [f"{_short(path)} ({p.kind})" for path, p in pictures.items() if p.converted]


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _line(what: str, value: object) -> str:
    return f"{what:<48}{value}"


def _count(names: list[str]) -> str:
    return f"{len(names):,}: {some(names)}" if names else "none"


def _tally(values: Iterable[object]) -> str:
    """The values with their counts, most frequent first."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], str(item[0])))
    return some((f"{value} ({count:,})" for value, count in counts), shown=6) or "none"


def _rows(train: pd.DataFrame) -> list[str]:
    """Counts per class with their shares, varieties and ages."""
    counts = train.label.value_counts().sort_index()
    lines = [f"{'class':<28}{'rows':>8}{'share':>9}"]
    lines += [f"{name:<28}{n:>8,}{n / len(train):>9.1%}" for name, n in counts.items()]
    lines += [f"{'all':<28}{len(train):>8,}", ""]
    lines += [_line(f"varieties: {train.variety.nunique()}", _tally(train.variety))]
    return lines + [_line(f"ages: {train.age.nunique()}", _tally(train.age))]


def _pictures(split: str, pictures: list[Picture]) -> list[str]:
    """How many images, their sizes, orientations and kinds."""
    sides = [(p.size > p.size[::-1]) - (p.size < p.size[::-1]) for p in pictures]
    shapes = [("square", "landscape", "portrait")[side] for side in sides]
    rotated = sum(p.rotated for p in pictures)
    return [
        _line(f"{split} images", f"{len(pictures):,} readable"),
        _line("  sizes (width x height, upright)", _tally(f"{w}x{h}" for (w, h), *_ in pictures)),
        _line("  orientation", _tally(shapes) + f", {rotated:,} of them by EXIF" * (rotated > 0)),
        _line("  kinds", _tally(p.kind for p in pictures)),
    ]


def _identical(images: Mapping[str, list[Path]]) -> list[str]:
    """Groups of byte-identical files within train, within test and across both."""
    test, conflicts = set(images["test"]), []
    places = {"train": [], "test": [], "train and test": []}
    for group in identical_files([*images["train"], *images["test"]]):
        labels = {path.parent.name for path in group if path not in test}
        inside = not test.isdisjoint(group)
        places["train and test" if labels and inside else "test" if inside else "train"] += [group]
        if len(labels) > 1:
            conflicts.append(f"  identical, but labelled differently: {_equal(group)}")
    return [_line(f"identical files within {p}", _groups(g)) for p, g in places.items()] + conflicts


def _groups(groups: list[list[Path]]) -> str:
    """`2 (5 files): a.jpg = b.jpg, c.jpg = d.jpg = e.jpg`."""
    names = f": {some(map(_equal, groups), GROUPS)}" if groups else ""
    return f"{len(groups):,} ({sum(map(len, groups)):,} files){names}"


def _equal(group: list[Path]) -> str:
    return some(map(_short, group), joint=" = ")


def _verdict(obstacles: list[str]) -> list[str]:
    if not obstacles:
        return ["", "verdict: training may start"]
    return ["", *(f"obstacle: {o}" for o in obstacles), "verdict: training may not start"]
