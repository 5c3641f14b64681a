"""Differences and errors in images, with their intervals, and the sentences made from them.

    python -m src.evidence 0.98846 0.98732   a public score, and its private one, in images
"""

import argparse
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from src.config import UserError, command
from src.probs import FLOOR, join

PUBLIC, PRIVATE = 2_601, 868  # test images behind Kaggle's public and private scores
DRAWS, BLOCK = 10_000, 5  # samples, and how many at a time: fewer calls, still in the cache
ALPHA = 0.05
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
LEAST = 50  # common images; fewer cannot tell one model, or one weight, from another
LAST_DIGIT = 1e-5  # scores have five digits


@dataclass(frozen=True)
class Comparison:
    """A new table of probabilities against an old one, on the same held-out images."""

    images: int
    gained: int  # images the new one has right and the old one wrong
    lost: int  # the other way round
    p: float  # exact McNemar
    low: int  # 95 % interval of gained - lost, in images
    high: int
    log_loss: float  # new - old, nats per image: below 0 is better
    log_loss_low: float
    log_loss_high: float

    @property
    def difference(self) -> int:
        """How many more images the new one has right."""
        return self.gained - self.lost

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero and the exact test agrees."""
        return (self.low > 0 or self.high < 0) and self.p < ALPHA


def compare(new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series, seed: int = 0) -> Comparison:
    """`new` against `old` on the images both hold and `labels` (image_id → label) know."""
    common = new.index.intersection(old.index).intersection(labels.index)
    if not len(common):
        raise UserError("no image was held out by both; compare models of the same folds and seed")
    new, old = join([new.loc[common], old.loc[common]])
    labels = labels.reindex(new.index)  # once, not for each of the following
    gained, lost = gained_and_lost(new, old, labels)
    losses = log_losses(new, labels) - log_losses(old, labels)
    return Comparison(
        len(common), gained, lost, mcnemar(gained, lost),
        *interval_of_gain(gained, lost, len(common), seed),
        float(losses.mean()), *interval_of_mean(losses, seed),
    )  # fmt: skip


def sentence(comparison: Comparison, subject: str, whom: str) -> str:
    """`+4 of 2,081 images (95 % −6 … +14): no evidence that TTA helps vit_small_squish_224`."""
    c = comparison
    found = "evidence" if c.decided else "no evidence"
    verb = "hurts" if c.decided and c.difference < 0 else "helps"
    # The bootstrap is too sure of itself where few images differ; then the exact test is shown.
    exact = f", exact p {c.p:.2g}" if (c.low > 0 or c.high < 0) and not c.decided else ""
    return (
        f"{signed(c.difference)} of {c.images:,} images "
        f"(95 % {signed(c.low)} … {signed(c.high)}{exact}): {found} that {subject} {verb} {whom}"
    )


def gain_phrase(difference: int, low: int, high: int, p: float) -> str:
    """`+4 (95 % −6 … +14), p 0.54`: the cell of a table that compares."""
    return f"{signed(difference)} (95 % {signed(low)} … {signed(high)}), p {p:.2g}"


def log_loss_phrase(comparison: Comparison) -> str:
    """`log-loss −0.0123 per image (95 % −0.0201 … −0.0040)`; below 0 is better."""
    c = comparison
    value, low, high = (
        f"{x:+.4f}".replace("-", "−") for x in (c.log_loss, c.log_loss_low, c.log_loss_high)
    )
    return f"log-loss {value} per image (95 % {low} … {high})"


def right(probs: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """Per image of `probs`, whether the most probable class is its label."""
    return probs.to_numpy().argmax(axis=1) == columns_of(probs, labels)


def gained_and_lost(new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series) -> tuple[int, int]:
    """Images that only `new` has right, and only `old`; their rows and columns are the same."""
    truth = columns_of(new, labels)
    ours, theirs = (table.to_numpy().argmax(axis=1) == truth for table in (new, old))
    return int((ours & ~theirs).sum()), int((theirs & ~ours).sum())


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
            "train it again on this train.csv"
        )
    return truth


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value that as many images are gained as lost (binomial, one half)."""
    n = gained + lost
    ways = total = 1  # of k successes, of at most k; whole numbers, however large
    for k in range(min(gained, lost)):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return min(1.0, 2 * total / 2**n)


def interval_of_gain(gained: int, lost: int, images: int, seed: int = 0) -> tuple[int, int]:
    """95 % percentile interval of gained - lost under resampling of the images.

    Only the counts matter, so the bootstrap draws them at once instead of the images.
    """
    shares = [gained / images, lost / images, (images - gained - lost) / images]
    draws = np.random.default_rng(seed).multinomial(images, shares, DRAWS)
    low, high = np.quantile(draws[:, 0] - draws[:, 1], [ALPHA / 2, 1 - ALPHA / 2], method="nearest")
    return int(low), int(high)


def interval_of_mean(values: np.ndarray, seed: int = 0, draws: int = 1_000) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` under resampling of the images."""
    random = np.random.default_rng(seed)
    size = BLOCK, len(values)
    means = [random.choice(values, size).mean(axis=1) for _ in range(draws // BLOCK)]
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


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
    """`37 of 2,081 wrong (1.78 %, 95 % 1.29 … 2.44 %)`; every error is reported this way."""
    if images == 0:
        return "no hold-out, so no error is known"
    low, high = (f"{100 * bound:.2f}" for bound in wilson(wrong, images))
    return f"{wrong:,} of {images:,} wrong ({100 * wrong / images:.2f} %, 95 % {low} … {high} %)"


def too_few(images: int) -> str:
    """Why members are not compared on so few common images; empty where there are enough."""
    lacks = f"all members together held out {images} images, a comparison needs {LEAST}"
    return "" if images >= LEAST else lacks


def images_right(score: float | str, images: int = PUBLIC) -> int:
    """How many of `images` a leaderboard score of five digits stands for."""
    try:
        value = float(score)
    except ValueError as error:
        raise UserError(f"score {score!r} is no number; give it as Kaggle shows it") from error
    count = round(value * images) if 0 <= value <= 1 else -1
    # Kaggle cuts the score off after five digits (2,571 of 2,601 is shown as 0.98846, not 0.98847).
    if not -LAST_DIGIT / 2 <= count / images - value + 1e-12 < LAST_DIGIT:
        raise UserError(
            f"score {score} is no whole number of {images:,} images; give all five digits, and "
            f"{PUBLIC:,} images for a public score, {PRIVATE:,} for a private one"
        )
    return count


def score_in_images(score: float | str, images: int = PUBLIC) -> str:
    """`2,570 of 2,601 right, 31 wrong ± 5.5 (one standard error)` from a leaderboard score."""
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
    return chi_square_tail(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1)


def chi_square_tail(x: float, freedom: int) -> float:
    """P(chi-square > x) by the recursion of the incomplete gamma function.

    SciPy has it too, but takes a quarter of a second to load.
    """
    if x <= 0 or freedom == 0:
        return 1.0
    odd = freedom % 2
    tail = math.erfc(math.sqrt(x / 2)) if odd else math.exp(-x / 2)
    steps = np.arange(0.5 if odd else 1.0, freedom / 2)
    return tail + sum(math.exp(a * math.log(x / 2) - x / 2 - math.lgamma(a + 1)) for a in steps)


def signed(count: int) -> str:
    """+4, 0 or −6, with a true minus sign and thousands commas."""
    return f"{count:+,}".replace("-", "−") if count else "0"


def main() -> None:
    """The command: see the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m src.evidence", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("public", help="a public score, all five digits")
    parser.add_argument("private", nargs="?", help="a private one")
    args = parser.parse_args()
    lines = [f"public: {score_in_images(args.public)}"]
    if args.private:
        lines += [f"private: {score_in_images(args.private, PRIVATE)}"]
    print("\n".join(lines))


if __name__ == "__main__":
    command(main)
