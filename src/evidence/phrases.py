"""Phrases about errors, scores and differences: always in images, with their interval."""

import math

import pandas as pd

from src.core import load_facts
from src.evidence.statistics import ALPHA, Comparison, LogLoss, images_right, wilson, wrong_of

INTERVAL = "95 % interval"


def error_phrase(wrong: int, images: int) -> str:
    """`37 of 2,081 wrong: 1.78 % (95 % interval 1.29 to 2.44)`; every error is reported so."""
    if images == 0:
        return "no hold-out, so no error is known"
    rate, low, high = (f"{100 * x:.2f}" for x in (wrong / images, *wilson(wrong, images)))
    return f"{wrong:,} of {images:,} wrong: {rate} % ({INTERVAL} {low} to {high})"


def error_cell(wrong: int, images: int) -> str:
    """The same for a table whose column is headed `INTERVAL`: `… 1.78 % (1.29 to 2.44)`."""
    return error_phrase(wrong, images).replace(f"{INTERVAL} ", "")


def error_both_ways(probs: pd.DataFrame, labels: pd.Series, leaking: pd.Index) -> str:
    """The error on all images, on those with a twin in training (`leaking`), and on the others."""
    seen = probs.index.isin(leaking)
    whole, own, others = (error_phrase(*wrong_of(part, labels))
                          for part in (probs, probs[seen], probs[~seen]))
    return f"{whole}; with a twin in training {own}; without {others}" if seen.any() else whole


def score_in_images(score: float | str, images: int | None = None) -> str:
    """`2,570 of 2,601 right, 31 wrong ± 5.5 (one standard error)`; a public score by default."""
    images = load_facts().public if images is None else images
    count = images_right(score, images)
    wrong, error = images - count, math.sqrt(count * (images - count) / images)
    return f"{count:,} of {images:,} right, {wrong:,} wrong ± {error:.1f} (one standard error)"


def sentence(c: Comparison, subject: str, whom: str) -> str:
    """`+4 of 2,081 images (95 % −8 … +15, p 0.62): no evidence that TTA helps vit_small`."""
    found = "evidence" if c.decided else "no evidence"
    verb = "hurts" if c.decided and c.difference < 0 else "helps"
    gain = f"{signed(c.difference)} of {c.images:,} images ({interval_phrase(c)})"
    return f"{gain}: {found} that {subject} {verb} {whom}"


def gain_phrase(c: Comparison) -> str:
    """`+4 (95 % −8 … +15, p 0.62)`, for a table."""
    return f"{signed(c.difference)} ({interval_phrase(c)})"


def interval_phrase(c: Comparison) -> str:
    """`95 % −8 … +15, p 0.62`."""
    level = f"{100 * (1 - c.alpha):.3g} %"
    return f"{level} {signed(c.low)} … {signed(c.high)}, p {p_phrase(c.p, c.alpha)}"


def p_phrase(p: float, alpha: float = ALPHA) -> str:
    """`0.62`, with the digits that show on which side of `alpha` it is."""
    texts = (f"{p:.{digits}g}" for digits in range(2, 18))
    return next(text for text in texts if (float(text) < alpha) == (p < alpha))


def log_loss_phrase(found: LogLoss) -> str:
    """`log-loss −0.012 per image (less is better; 95 % −0.02 … −0.004)`."""
    value, low, high = (signed(number, ".2g") for number in found)
    return f"log-loss {value} per image (less is better; 95 % {low} … {high})"


def signed(number: float, form: str = ",") -> str:
    """+4, 0 or −6, with a true minus sign and thousands commas, or as `form` says."""
    return f"{number:+{form}}".replace("-", "−") if number else "0"
