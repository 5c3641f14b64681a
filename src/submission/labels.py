"""The labels of a submission as a whole: unknown ones, classes missing, the mix of classes."""

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from src.competition import some
from src.evidence import same_mix, signed
from src.submission.finding import Finding

REFUSE, REMARK = 1e-11, 1e-3  # p-values; only what no weak model does is refused
# Biased but honest models fail any test on 3,469 rows; an error moves more rows than this share.
MOVED = 0.1


def label_findings(
    labels: pd.Series, train: pd.Series, predicted: pd.Series | None = None
) -> list[Finding]:
    """Unknown labels, one class only, a class missing, or another mix of classes than expected.

    Expected is the mix of the training labels `train` or, of a biased model, that of the labels it
    `predicted` on the hold-out (label → count): the closer of the two decides.
    """
    known = train.value_counts().sort_index()
    unknown = labels[~labels.isin(known.index)]
    if len(unknown):
        text = f"{len(unknown):,} rows with unknown labels {some(map(repr, unknown.unique()), 3)}"
        return [Finding("error", f"{text}; known: {', '.join(known.index)}")]
    if labels.nunique() == 1 and len(known) > 1:
        text = f"every row says {labels.iloc[0]}; the model has learnt nothing, train it again"
        return [Finding("error", text)]
    mixes = {"training": known}
    if predicted is not None:
        mixes["the predictions of the hold-out"] = predicted.reindex(known.index, fill_value=0)
    counts = labels.value_counts().reindex(known.index, fill_value=0)
    return [*_missing_classes(counts, mixes), *_mix(counts, mixes)]


def _missing_classes(counts: pd.Series, mixes: Mapping[str, pd.Series]) -> Iterator[Finding]:
    """Classes never predicted: an error only where chance cannot explain their absence."""
    for name in counts.index[counts == 0]:
        p, source = max((_p_missing(mixes[key], name, counts.sum()), key) for key in mixes)
        number = mixes[source][name] / mixes[source].sum() * counts.sum()
        text = f"no row says {name}; by {source} about {number:,.0f} were to be expected"
        chance = ", it may be chance" if number else ": the members hardly know it"
        remedy = "; look at the members' confusion matrices" if p < REMARK else chance
        yield Finding("error" if p < REFUSE else "remark", f"{text} (p = {p:.1g}){remedy}")


def _p_missing(mix: pd.Series, name: str, rows: int) -> float:
    """Chance that all images of a class are among those of `mix` and none among the `rows`.

    Both are samples of the same images: how those of a class fall on the two is hypergeometric.
    """
    images, of_class = round(mix.sum()), round(mix[name])
    return math.prod((images - i) / (images + rows - i) for i in range(of_class))


def _mix(counts: pd.Series, mixes: Mapping[str, pd.Series]) -> list[Finding]:
    """Predicted `counts` against the closest of the `mixes`."""
    p, source = max((same_mix(counts, mixes[key]), key) for key in mixes)
    if p >= REMARK:
        return []
    excess = counts - mixes[source] / mixes[source].sum() * counts.sum()
    moved = excess.clip(lower=0).sum() / counts.sum()
    most, least = (f"{c} {signed(round(excess[c]))}" for c in (excess.idxmax(), excess.idxmin()))
    refused = p < REFUSE and moved > MOVED
    remedy = "; see whether class names were exchanged" if refused else ""
    text = f"class mix differs from {source} (chi-square p = {p:.1g}, {moved:.0%} of the rows)"
    return [Finding("error" if refused else "remark", f"{text}: {most}, {least}{remedy}")]
