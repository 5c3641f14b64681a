"""Errors counted in images, their interval, and the test of two class mixes.

`scipy.stats` takes half a second to import, so only the functions that need it do.
"""

import numpy as np
import pandas as pd

from src.core import UserError, load_facts
from src.evidence.probabilities import FLOOR

ALPHA = 0.05
LEAST = 50  # common images; fewer cannot tell one model, or one weight, from another
LAST_DIGIT = 1e-5  # scores have five digits


def right(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """Per image of `probs`, whether the most probable class is its label."""
    return probs.to_numpy().argmax(axis=1) == columns_of(probs, labels)


def log_losses(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """Per image of `probs`, −log of the probability of its label, in nats."""
    chosen = probs.to_numpy(dtype=np.float64)[np.arange(len(probs)), columns_of(probs, labels)]
    return -np.log(np.clip(chosen, FLOOR, 1))


def columns_of(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """The column number of each image's label."""
    truth = probs.columns.get_indexer(labels.reindex(probs.index))
    if (truth < 0).any():
        image = probs.index[truth < 0][0]
        label = labels.get(image, "(none)")
        raise UserError(
            f"{image} has the label {label}, which is no class of the model; "
            "train it again on these labels"
        )
    return truth


def wrong_of(probs: pd.DataFrame, labels: pd.Series) -> tuple[int, int]:
    """How many images of `probs` are wrong, of how many."""
    return int((~right(probs, labels)).sum()), len(probs)


def wilson(wrong: int, images: int) -> tuple[float, float]:
    """95 % interval of an error rate (Wilson 1927), sound for few images and for none wrong."""
    from scipy.stats import binomtest

    low, high = binomtest(wrong, images).proportion_ci(1 - ALPHA, method="wilson")
    return float(low), float(high)


def same_mix(counts: pd.Series, known: pd.Series) -> float:
    """p-value of the chi-square test that both count the same mix of classes.

    Both are samples. Classes expected fewer than five times are taken together (Cochran's rule).
    """
    from scipy.stats import chi2_contingency

    rare = known / known.sum() * counts.sum() < 5
    table = np.array([[*c[~rare], c[rare].sum()] for c in (counts, known)])
    return float(chi2_contingency(table[:, table.any(axis=0)], correction=False).pvalue)


def images_right(score: float | str, images: int | None = None) -> int:
    """How many of `images` (None: of the public score's) a score of five digits stands for."""
    facts = load_facts()
    images = facts.public if images is None else images
    if not images:
        raise UserError("params.yaml, competition: the images of this score are not known; give "
                        "public and private their numbers there")
    try:
        value = float(score)
    except ValueError as error:
        raise UserError(f"score {score!r} is no number; give it as Kaggle shows it") from error
    count = round(value * images) if 0 <= value <= 1 else -1
    # Kaggle cuts the score off after five digits (2,571 of 2,601 is shown as 0.98846, not 0.98847).
    if not -LAST_DIGIT / 2 <= count / images - value + 1e-12 < LAST_DIGIT:
        raise UserError(
            f"score {score} is no whole number of {images:,} images; give all five digits, and "
            f"{facts.public:,} images for a public score, {facts.private:,} for a private one"
        )
    return count
