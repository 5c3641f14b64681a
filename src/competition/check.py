"""What `python -m src.competition check` prints: what is there and whether training may start."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from src.competition import dataset
from src.competition.images import Inspection, broken, identical_files, inspect_all, short_name
from src.competition.tables import as_lines, internal_names, read_csv, some, table_faults
from src.core import SAMPLE, UserError, entries, ignored, load_facts

Inspections = dict[str, dict[Path, Inspection]]  # of the splits, "train" and "test"


def check(folder: Path) -> tuple[list[str], list[str]]:
    """The lines that describe `folder`, and the obstacles that prevent training.

    A broken test image is an obstacle too: it would be noticed only after a night of training.
    """
    facts, faults, images = load_facts(), {}, {}
    obstacles = [f"no folder {folder / part}" for part in (facts.train, facts.test)
                 if not (folder / part).is_dir()]
    train = _lenient(folder / facts.table, [*facts.columns, *facts.other], obstacles)
    test = _lenient(folder / SAMPLE, [facts.id], obstacles)
    faults |= table_faults(train, facts.table) | table_faults(test, SAMPLE)
    train, test = internal_names(train), internal_names(test)
    if len(train):
        faults |= dataset.class_faults(folder, train.label)
    named = {"train": dataset.file_names(train.set_index("image_id").label), "test": test.image_id}
    for split, root in (("train", folder / facts.train), ("test", folder / facts.test)):
        sizes = dataset.file_sizes(folder, split)
        images[split] = inspect_all(sorted(root / name for name in sizes))
        faults[f"unreadable {split} images"] = broken(images[split])
        if len(named[split]):
            faults |= dataset.file_faults(split, named[split], sizes)
    obstacles += as_lines(faults)
    verdict = f"verdict: training {'may not' if obstacles else 'may'} start"
    end = [*(f"obstacle: {o}" for o in obstacles), verdict]
    if train.empty and not any(images.values()):
        return end, obstacles
    lines = [_line(label, n) for label, n in train.label.value_counts().sort_index().items()]
    lines += [_line("all", len(train)), "", *_images(images), ""]
    lines += [_names(what, names) for what, names in faults.items()]
    labels = dict(zip(train.image_id, train.label, strict=True))
    lines += [*_files(images, folder), *_identical(images, labels)]
    return [*lines, "", *end], obstacles


def _lenient(path: Path, columns: list[str], obstacles: list[str]) -> pd.DataFrame:
    """The table as far as it can be read; a reason why not is added to `obstacles`."""
    try:
        return read_csv(path, columns, dataset.AGAIN)
    except UserError as error:
        obstacles.append(str(error))
        return pd.DataFrame(columns=columns, dtype=str)


def _line(what: str, value: object) -> str:
    return f"{what:<48}{value}"


def _names(what: str, names: list[str]) -> str:
    return _line(what, f"{len(names):,}: {some(names)}" if names else "none")


def _tally(values: Iterable[str]) -> str:
    """The values with their counts, most frequent first."""
    counts = Counter(values).most_common()
    return some((f"{value} ({count:,})" for value, count in counts), shown=6) or "none"


def _images(images: Inspections) -> list[str]:
    """Of each split how many images can be read, their sizes and orientations."""
    lines = []
    for split, seen in images.items():
        sizes = [i.size for i in seen.values() if not i.problem]
        shapes = ["landscape" if w > h else "portrait" if h > w else "square" for w, h in sizes]
        lines += [_line(f"{split} images", f"{len(sizes):,} readable"),
                  _line("  width x height, upright", _tally(f"{w}x{h}" for w, h in sizes)),
                  _line("  orientation", _tally(shapes))]
    return lines


def _files(images: Inspections, folder: Path) -> list[str]:
    """The files that are converted to RGB, and those that are ignored."""
    converted = [f"{short_name(path)} ({i.kind})" for seen in images.values()
                 for path, i in seen.items() if i.converted]
    train, test = folder / load_facts().train, folder / load_facts().test
    places = [folder, train, *(train / label for label in entries(train, folders=True)), test]
    passed = [(place / name).relative_to(folder) for place in places for name in ignored(place)]
    return [_names("converted to 8-bit RGB", converted),
            _names("ignored, hidden or left by a system", [path.as_posix() for path in passed])]


def _identical(images: Inspections, labels: dict[str, str]) -> list[str]:
    """Groups of byte-identical files within train, within test and across both."""
    groups, conflicts = {"train": [], "test": [], "train and test": []}, []
    for same in identical_files([*images["train"], *images["test"]]):
        splits = [split for split in images if not images[split].keys().isdisjoint(same)]
        names = some(map(short_name, same), joint=" = ")
        groups[" and ".join(splits)].append(names)
        if len({labels[path.name] for path in same if path.name in labels}) > 1:
            conflicts.append(names)
    lines = [_names(f"identical files within {place}", found) for place, found in groups.items()]
    return [*lines, _names("identical, but labelled differently", conflicts)]
