"""Tables and sentences about an ensemble, made from numbers alone.

Tables of probabilities go by model name and hold the same images.
"""

import numpy as np
import pandas as pd

from src.ensemble.blends import calibrate, gather, tempered
from src.ensemble.search import nested
from src.evidence import (
    ALPHA,
    compare_log_loss,
    error_phrase,
    log_loss_phrase,
    p_phrase,
    right,
    same_mix,
    too_few,
    wilson,
    wrong_of,
)

BINS = 10  # of the reliability diagram
ENSEMBLE = "ensemble"  # the row beside the models'


def as_text(table: pd.DataFrame) -> str:
    """`table` as text whose columns, headers too, start at the left."""
    cells = [list(table.columns), *table.astype(str).to_numpy().tolist()]
    widths = [max(len(row[k]) for row in cells) for k in range(table.shape[1])]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def cooled(ensemble: pd.DataFrame, labels: pd.Series) -> tuple[float, pd.DataFrame]:
    """The temperature that fits best, and the `ensemble` with each image tempered by others."""
    heat, _ = calibrate(ensemble, labels)
    held = gather({ENSEMBLE: ensemble}, {ENSEMBLE: ENSEMBLE}, labels)
    probs, _ = nested(tempered, held, repeats=1, seed=0)
    return heat, pd.DataFrame(probs, held.images, held.classes)


def confidence_bins(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Images by how sure `probs` are of them: images, mean confidence, share right, interval."""
    sure = probs.to_numpy(dtype=float).max(axis=1)
    table = pd.DataFrame({"sure": sure, "right": right(probs, labels)})
    groups = table.groupby(np.minimum((sure * BINS).astype(int), BINS - 1))
    bins = groups.agg(images=("right", "size"), sure=("sure", "mean"), right=("right", "mean"))
    counts = zip((bins.images * bins.right).round().astype(int), bins.images, strict=True)
    bins[["low", "high"]] = [wilson(count, images) for count, images in counts]
    return bins


def reliability_sentence(ensemble: pd.DataFrame | None, labels: pd.Series) -> str:
    """How sure the `ensemble` is and how often wrong, and whether a temperature mends that."""
    if few := too_few(0 if ensemble is None else len(ensemble)):
        return f"how far the ensemble's probabilities can be believed is not known: {few}"
    heat, after = cooled(ensemble, labels)
    sure, then = (100 * probs.max(axis=1).mean() for probs in (ensemble, after))
    change = compare_log_loss(after, ensemble, labels)
    decided = change.high < 0 or change.low > 0
    verdict = ("helps" if change.difference < 0 else "hurts") if decided else "matters"
    return (
        f"the ensemble is {sure:.1f} % sure on average, with "
        f"{error_phrase(*wrong_of(ensemble, labels))}; a temperature of {heat:.2f}, judged on "
        f"images it was not fitted on, makes it {then:.1f} % sure: {log_loss_phrase(change)}, "
        f"{'' if decided else 'no '}evidence that it {verdict}"
    )


def class_counts(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Class by class the images of `labels` (training) and those `probs` predict (submission)."""
    predicted = probs.sort_index(axis=1).idxmax(axis=1).value_counts()
    counts = pd.DataFrame({"training": labels.value_counts(), "submission": predicted})
    return counts.fillna(0).astype(int).sort_values("training", ascending=False, kind="stable")


def class_sentence(counts: pd.DataFrame) -> str:
    """Whether the submission's classes are as frequent as in training, and which is least so."""
    expected = counts.training / counts.training.sum() * counts.submission.sum()
    name = (counts.submission - expected).abs().idxmax()
    p = same_mix(counts.submission, counts.training)
    return (
        f"the class mix differs from training's {'more' if p < ALPHA else 'no more'} than chance "
        f"explains (chi-square p = {p_phrase(p)}); furthest off is {name}: "
        f"{counts.submission[name]:,} images where {expected[name]:,.0f} are to be expected"
    )
