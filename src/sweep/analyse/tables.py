"""The runs of the record as paddy_analyse.ipynb shows them: tables, and sentences from them.

A row is one of params.yaml: its repeats, other seeds and folds, are averaged. Errors are with TTA.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from src import core
from src.core import UserError, nearest
from src.evidence import error_cell
from src.sweep.analyse.record import read_tables

PARAMETERS = ("models", "family", "since", "notebook")
FEWEST = 3  # rows, repeats or files; with fewer nothing is said of all of them
FITS_GB, HEAD_START = 16, 80  # of a usual GPU; seconds, of fastai's comparison of architectures
ALIKE = 5  # runs whose order at an epoch is compared with that at the end
VALUES = ["wrong", "minutes", "gb"]


class Record(NamedTuple):
    """What is analysed: the runs with a hold-out, their rows, epochs, and all submissions."""

    runs: pd.DataFrame
    rows: pd.DataFrame
    epochs: pd.DataFrame
    submissions: pd.DataFrame
    images: int  # held out
    sentence: str


def open_record(models: str = "", family: str = "", since: str = "") -> Record:
    """The runs in `models`, of one `family`, made `since` a date; of several data sets the last."""
    tables = {name: table.infer_objects() for name, table in read_tables(models)[0].items()}
    created = pd.to_datetime(tables["runs"].created, utc=True, format="ISO8601")
    runs = tables["runs"].assign(created=created)
    if family and len(runs) and family not in set(runs.family):
        raise UserError(f"no run of family {family!r}; {nearest(family, sorted(set(runs.family)))}")
    if pd.isna(start := pd.to_datetime(since or "1970", utc=True, errors="coerce")):
        raise UserError(f"since={since!r} is no date; write 2026-12-31")
    found = runs[(runs.family == (family or runs.family)) & ~(runs.created < start)]
    newest = found.sort_values("created", kind="stable", na_position="first").data.tail(1)
    held = found[(found.images > 0) & found.data.isin(newest)]
    held = held.assign(wrong=held.wrong_tta, minutes=held.seconds / 60,
                       gb=held.peak_memory_mb / 1024).astype(dict.fromkeys(VALUES, float))
    groups = held.groupby("row", sort=False)
    rows = groups.first().assign(runs=groups.size(), **groups[VALUES].mean()).reset_index()
    epochs = tables["epochs"].merge(held[["folder", "name", "family", "held_out", "wrong_tta"]])
    images, place = int(held.images.median()) if len(held) else 0, core.models_dir(models)
    line = f"runs in {place}: {len(held):,}; rows: {len(rows):,}; families: {rows.family.nunique()}"
    line = line if images else f"{place}: no run to show; train some: python -m src.sweep --all"
    if more := len(found) - len(held):
        line += f"; left out, for they hold nothing out or are of other data: {more}"
    return Record(held, rows, epochs, tables["submissions"], images, line)


def too_few(found: int, what: str, least: int = FEWEST) -> str:
    """`too few rows to compare: 3 are needed, there is 1`; empty where there are enough."""
    verb = "is" if found == 1 else "are"
    return f"too few {what}: {least} are needed, there {verb} {found}" if found < least else ""


def pivot_table(record: Record) -> pd.DataFrame:
    """Family and size by resize: the mean error of the runs, and the interval of one of them."""
    if record.runs.empty:
        return pd.DataFrame()
    groups = record.runs.groupby(["family", "size", "resize"])
    cells = groups.agg(wrong=("wrong", "mean"), images=("images", "mean"), runs=("wrong", "size"))
    texts = [error_cell(round(c.wrong), round(c.images)) + (f", {c.runs:.0f} runs" * (c.runs > 1))
             for c in cells.itertuples()]
    return pd.Series(texts, cells.index).unstack(fill_value="").reset_index()


def repeats_sentence(record: Record) -> str:
    """How much the runs of one row differ, and whether rows are wrong more on the same splits."""
    repeats = record.runs.pivot_table("wrong", ["seed", "fold"], "row")
    repeats = repeats.loc[:, repeats.count() >= FEWEST]
    if repeats.empty:
        return too_few(int(record.rows.runs.max()) if len(record.rows) else 0,
                       "runs of one row to know their spread")
    wrong, spread = repeats.stack().mean(), np.sqrt(repeats.var().mean())
    chance = np.sqrt(wrong * (1 - wrong / record.images))
    corr = repeats.corr(min_periods=FEWEST).to_numpy()
    pairs = corr[np.tri(len(corr), k=-1, dtype=bool) & np.isfinite(corr)]
    together = (too_few(len(pairs), "pairs of rows on the same splits", 1)
                or f"two rows on the same splits correlate {pairs.mean():.2f}, in the mean")
    return (f"{repeats.shape[1]} rows have {FEWEST} runs or more: the standard deviation of one is "
            f"{spread:.1f} images, where other images alone make it {chance:.1f}; {together}")


def shortlist(record: Record, fits: float = np.inf) -> pd.DataFrame:
    """Rows in `fits` GB, fewest errors first; without a limit those below both medians."""
    rows = record.rows.sort_values(["wrong", "row"])
    low = (rows[["wrong", "minutes"]] <= rows[["wrong", "minutes"]].median()).all(axis=1)
    rows = rows[rows.gb <= fits if np.isfinite(fits) else low]
    error = [error_cell(round(wrong), record.images) for wrong in rows.wrong]
    numbers = rows[["minutes", "gb"]].map("{:.1f}".format).rename(columns={"gb": "peak GB"})
    return rows[["row", "family", "runs"]].assign(error=error).join(numbers)


def shortlist_sentence(record: Record, fits: float = np.inf) -> str:
    """How many rows that are."""
    where = f"in {fits:.0f} GB" if np.isfinite(fits) else "neither worse nor slower than the median"
    return (too_few(len(record.rows), "rows to compare")
            or f"{where}: {len(shortlist(record, fits))} of {len(record.rows)} rows")


def order_of_epochs(record: Record) -> tuple[pd.Series, int]:
    """By epoch, how well its errors rank the final ones: of the runs most alike; and how many."""
    runs = ["folder", "name"]
    lasts = record.epochs.groupby(runs).epoch.transform("max")
    epochs = record.epochs.assign(last=lasts).dropna(subset="wrong")
    alike = [group for _, group in epochs.groupby(["held_out", "last"])]
    group = max(alike, key=lambda g: g.name.nunique(), default=epochs)
    ranks = group.pivot(index=runs, columns="epoch", values="wrong").rank()
    final = group.groupby(runs).wrong_tta.first().rank()
    return ranks.corrwith(final).dropna(), len(final)


def epochs_sentence(record: Record) -> str:
    """From which epoch on the order of the runs is nearly the final one."""
    corr, runs = order_of_epochs(record)
    if few := too_few(runs, "runs on one hold-out with equally many epochs", ALIKE):
        return few
    early = corr[(corr.round(6) >= 0.9)[::-1].cummin()[::-1]].index
    when = f"from epoch {early[0]} on it is 0.9 or more" if len(early) else "it is never 0.9"
    return (f"of {runs} runs on one hold-out, the rank correlation with the final errors is "
            f"{corr.iloc[0]:.2f} after epoch {corr.index[0]} of {corr.index[-1]}; {when}")


def scored(record: Record) -> pd.DataFrame:
    """Submissions with both errors, in images of the public leaderboard: expected, missed."""
    public, known = core.load_facts().public, record.submissions
    known = known[["holdout_error", "public_right"]].dropna().astype(float)
    return pd.DataFrame({"expected": known.holdout_error * public,
                         "missed": public - known.public_right})


def leaderboard_sentence(record: Record) -> str:
    """How many images more the leaderboard misses than the hold-out expects."""
    table = scored(record)
    if few := too_few(len(table), "scored submissions with a hold-out error"):
        return few
    more = table.missed - table.expected
    return (f"{len(table)} submissions: the leaderboard's {core.load_facts().public:,} images have "
            f"{more.mean():+.1f} more wrong than expected, with a standard deviation of "
            f"{more.std():.1f}; the correlation is {table.expected.corr(table.missed):.2f}")
