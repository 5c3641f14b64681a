"""Errors and scores in images, with their intervals, and the sentences made from them."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from src.core import UserError, load_facts
from src.evidence.probabilities import FLOOR

ALPHA = 0.05
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
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
    rate, weight = wrong / images, Z**2 / images
    middle = rate + weight / 2
    half = Z * math.sqrt(rate * (1 - rate) / images + weight / images / 4)
    return max(0.0, (middle - half) / (1 + weight)), min(1.0, (middle + half) / (1 + weight))


def error_phrase(wrong: int, images: int) -> str:
    """`37 of 2,081 wrong: 1.78 % (95 % interval 1.29 to 2.44)`; every error is reported so."""
    if images == 0:
        return "no hold-out, so no error is known"
    rate, low, high = (f"{100 * x:.2f}" for x in (wrong / images, *wilson(wrong, images)))
    return f"{wrong:,} of {images:,} wrong: {rate} % (95 % interval {low} to {high})"


def too_few(images: int) -> str:
    """Why members are not compared on so few common images; empty where there are enough."""
    lacks = f"all members together held out {images} images, a comparison needs {LEAST}"
    return "" if images >= LEAST else lacks


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


def score_in_images(score: float | str, images: int | None = None) -> str:
    """`2,570 of 2,601 right, 31 wrong ± 5.5 (one standard error)` from a leaderboard score."""
    images = load_facts().public if images is None else images
    count = images_right(score, images)
    error = math.sqrt(count * (images - count) / images)
    told = f"{count:,} of {images:,} right, {images - count:,} wrong ± {error:.1f}"
    return f"{told} (one standard error)"


def same_mix(counts: pd.Series, known: pd.Series) -> float:
    """p-value of the chi-square test that both count the same mix of classes.

    Both are samples. Classes expected fewer than five times are taken together (Cochran's rule).
    """
    rare = known / known.sum() * counts.sum() < 5
    table = np.array([[*c[~rare], c[rare].sum()] for c in (counts, known)], dtype=float)
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic, freedom = ((table - expected) ** 2 / expected).sum(), table.shape[1] - 1
    return float(chdtrc(freedom, statistic)) if freedom else 1.0


def p_phrase(p: float, alpha: float = ALPHA) -> str:
    """`p` in two digits, or as many as show on which side of `alpha` it is."""
    texts = (f"{p:.{digits}g}" for digits in range(2, 18))
    return next(text for text in texts if (float(text) < alpha) == (p < alpha))


def signed(count: int) -> str:
    """+4, 0 or −6, with a true minus sign and thousands commas."""
    return f"{count:+,}".replace("-", "−") if count else "0"
