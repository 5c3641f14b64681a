"""Mishaps that put right labels in wrong rows: rows shifted or reversed, class names exchanged.

Each is sought beside `known` labels of the same images. It has happened if undoing it makes more
rows agree with them, clearly more than chance would: no rate of agreement is needed for that, so
weak models are judged as fairly as strong ones.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from src.evidence import ALPHA, sign_test

SURE = 1e-3  # p-value, times the number of ways that were tried


def mishap(labels: pd.Series, known: pd.Series) -> str:
    """What happened to `labels`, beside `known` ones of the same images; empty if nothing did."""
    return shifted(labels, known) or reverse(labels, known) or exchanged(labels, known)


def shifted(labels: pd.Series, known: pd.Series) -> str:
    """How `labels` are moved by one row against `known`, from some row on; else nothing."""
    new, old = labels.to_numpy(object), known.to_numpy(object)
    stays = new == old
    for step, way, other in ((1, "down", "before"), (-1, "up", "after")):
        moved = new == np.roll(old, step)
        gain = np.cumsum((moved.astype(int) - stays)[::-1])[::-1]  # by moving back from a row on
        start = int(gain.argmax())
        if _proves(moved[start:], stays[start:], tries=2 * len(new)):
            return (
                f"rows are shifted {way} by one from row {start + 1:,} ({labels.index[start]}) on: "
                f"each image carries the label of the one {other} it"
            )
    return ""


def reverse(labels: pd.Series, known: pd.Series) -> str:
    """Whether `labels` stand in the reverse order of `known`, in words; else nothing."""
    new, old = labels.to_numpy(object), known.to_numpy(object)
    if not _proves(new == old[::-1], new == old, tries=1):
        return ""
    return "rows are in reverse order: the first image carries the label of the last"


def exchanged(labels: pd.Series, known: pd.Series) -> str:
    """Which class names `labels` have in place of one another, beside `known`; else nothing."""
    classes = sorted({*labels, *known})
    new, old = (pd.Index(classes).get_indexer(column) for column in (labels, known))
    table = np.bincount(new * len(classes) + old, minlength=len(classes) ** 2)
    table = table.reshape(len(classes), len(classes))  # label x known
    for ring in _rings(table):
        after = [*ring[1:], ring[0]]
        # The known classes were chosen to fit: every class of the ring could have met any other.
        tries = len(classes) ** len(ring)
        if _p_gain(table[ring, after].sum(), table[ring, ring].sum()) * tries < SURE:
            pairs = zip(ring, after, strict=True)
            names = [f"{classes[right]} is called {classes[said]}" for said, right in pairs]
            return f"class names are exchanged: {', '.join(names)}"
    return ""


def _rings(table: np.ndarray) -> Iterator[list[int]]:
    """Rings of classes in which most rows of each one are, rightly, of the next."""
    usual = np.where(table.any(axis=1), table.argmax(axis=1), np.arange(len(table)))
    for first in range(len(table)):
        ring = [first]
        while usual[ring[-1]] not in ring:
            ring.append(int(usual[ring[-1]]))
        if len(ring) > 1 and usual[ring[-1]] == first == min(ring):
            yield ring


def _proves(undone: np.ndarray, stays: np.ndarray, tries: int) -> bool:
    """Whether clearly more rows agree when a mishap is `undone` than as the file `stays`."""
    gained, lost = (undone & ~stays).sum(), (stays & ~undone).sum()
    return bool(gained > lost and _p_gain(gained, lost) * tries < SURE)


def _p_gain(gained: int, lost: int) -> float:
    """p-value of the exact sign test that as many rows are gained as lost."""
    return sign_test(np.repeat([1, -1], [gained, lost]), ALPHA)[0]
