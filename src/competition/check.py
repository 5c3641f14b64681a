"""What `python -m src.competition check` prints: what is there and whether training may start."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.competition.dataset import AGAIN, missing_parts, test_faults, train_faults, train_sizes
from src.competition.images import Inspection, identical_files, inspect_all
from src.competition.tables import as_lines, internal_names, read_csv, some, table_faults
from src.core import SAMPLE, UserError, entries, ignored, load_facts

GROUPS = 5  # of identical files that are named
Inspections = Mapping[str, Mapping[Path, Inspection]]  # of the splits, "train" and "test"


class Report(NamedTuple):
    """The printed `lines` of a check, and the `obstacles` that keep training from starting."""

    lines: list[str]
    obstacles: list[str]


def check(folder: Path) -> Report:
    """What `folder` holds and what keeps training from starting; stops at nothing.

    A broken test image is an obstacle too: it would be noticed only after a night of training.
    Files that are converted to RGB or ignored are none.
    """
    facts = load_facts()
    obstacles = [f"no folder {folder / part}" for part in missing_parts(folder) if "." not in part]
    train = _lenient(folder / facts.table, [*facts.columns, *facts.other], obstacles)
    test = _lenient(folder / SAMPLE, [facts.id], obstacles)
    faults = table_faults(train, facts.table) | table_faults(test, SAMPLE)
    train, test = internal_names(train), internal_names(test)
    sizes, test_sizes = train_sizes(folder), entries(folder / facts.test)
    if len(train):
        faults |= train_faults(folder, train.set_index("image_id").label, sizes)
    if len(test):
        faults |= test_faults(test.image_id, test_sizes)
    images = {
        "train": inspect_all(sorted(folder / facts.train / name for name in sizes)),
        "test": inspect_all(sorted(folder / facts.test / name for name in test_sizes)),
    }
    broken = {f"unreadable {split} images": [f"{_short(path)} ({i.problem})"
                                             for path, i in seen.items() if i.problem]
              for split, seen in images.items()}
    obstacles += as_lines(broken | faults)
    lines = [*_rows(train), *_images(images), *_files(broken | faults, images, folder)]
    lines += _identical(images, dict(zip(train.image_id, train.label, strict=True)))
    verdict = f"verdict: training {'may not' if obstacles else 'may'} start"
    return Report([*lines, "", *(f"obstacle: {o}" for o in obstacles), verdict], obstacles)


def _lenient(path: Path, columns: list[str], obstacles: list[str]) -> pd.DataFrame:
    """The table as far as it can be read; a reason why not is added to `obstacles`."""
    try:
        return read_csv(path, columns, AGAIN)
    except UserError as error:
        obstacles.append(str(error))
        return pd.DataFrame(columns=columns, dtype=str)


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _line(what: str, value: object) -> str:
    return f"{what:<48}{value}"


def _names(what: str, names: list[str]) -> str:
    return _line(what, f"{len(names):,}: {some(names)}" if names else "none")


def _tally(values: Iterable[object]) -> str:
    """The values with their counts, most frequent first."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], str(item[0])))
    return some((f"{value} ({count:,})" for value, count in counts), shown=6) or "none"


def _rows(train: pd.DataFrame) -> list[str]:
    """Counts per class with their shares, and of varieties and ages where there are any."""
    counts = train.label.value_counts().sort_index()
    lines = [f"{'class':<28}{'rows':>8}{'share':>9}"]
    lines += [f"{name:<28}{n:>8,}{n / len(train):>9.1%}" for name, n in counts.items()]
    lines += [f"{'all':<28}{len(train):>8,}", ""]
    for name, plural in (("variety", "varieties"), ("age", "ages")):
        if name in train:
            lines += [_line(f"{plural}: {train[name].nunique()}", _tally(train[name]))]
    return lines


def _images(images: Inspections) -> list[str]:
    """Of each split how many images can be read, their sizes, orientations and kinds."""
    lines = []
    for split, seen in images.items():
        good = [i for i in seen.values() if not i.problem]
        sides = [(i.size > i.size[::-1]) - (i.size < i.size[::-1]) for i in good]
        shapes = _tally(("square", "landscape", "portrait")[side] for side in sides)
        if rotated := sum(i.rotated for i in good):
            shapes += f", {rotated:,} of them by EXIF"
        sizes = _tally(f"{width}x{height}" for (width, height), *_ in good)
        lines += ["", _line(f"{split} images", f"{len(good):,} readable")]
        lines += [_line("  sizes (width x height, upright)", sizes), _line("  orientation", shapes)]
        lines += [_line("  kinds", _tally(i.kind for i in good))]
    return lines


def _files(faults: Mapping[str, list[str]], images: Inspections, folder: Path) -> list[str]:
    """A line for each kind of fault, and for the files that are converted or ignored."""
    seen = [item for split in images.values() for item in split.items()]
    converted = [f"{_short(path)} ({i.kind})" for path, i in seen if i.converted]
    facts, train = load_facts(), folder / load_facts().train
    places = [folder, train, *(train / label for label in entries(train, folders=True))]
    places += [folder / facts.test]
    passed = [place / name for place in places for name in ignored(place)]
    lines = ["", *(_names(what, names) for what, names in faults.items()), ""]
    lines += [_names("converted to 8-bit RGB", converted)]
    names = [path.relative_to(folder).as_posix() for path in passed]
    return lines + [_names("ignored, hidden or left by a system", names)]


def _identical(images: Inspections, labels: Mapping[str, str]) -> list[str]:
    """Groups of byte-identical files within train, within test and across both."""
    groups, conflicts = {"train": [], "test": [], "train and test": []}, []
    for same in identical_files([*images["train"], *images["test"]]):
        splits = [split for split in images if not images[split].keys().isdisjoint(same)]
        text = some(map(_short, same), joint=" = ")
        groups[" and ".join(splits)].append((len(same), text))
        if len({labels.get(path.name) for path in same if path in images["train"]}) > 1:
            conflicts.append(f"  identical, but labelled differently: {text}")
    lines = []
    for place, found in groups.items():
        names = f": {some((text for _, text in found), GROUPS)}" if found else ""
        count = f"{len(found):,} ({sum(n for n, _ in found):,} files){names}"
        lines.append(_line(f"identical files within {place}", count))
    return lines + conflicts
