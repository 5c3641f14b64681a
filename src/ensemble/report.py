"""What is printed of an ensemble: its members, their errors, what each one contributes."""

from collections import Counter

import numpy as np
import pandas as pd

from src import evidence
from src.competition import some
from src.ensemble.ensemble import Ensemble, average_of, ensemble_probs, lacking, with_labels
from src.ensemble.members import counted, unmeasured
from src.ensemble.search import nested
from src.ensemble.weights import Tables, gather, temperatures
from src.evidence import FEWEST_IMAGES, INTERVAL, average, error_cell, wrong_of

ENSEMBLE = "ensemble"  # the row beside the models'


def members_table(ensemble: Ensemble) -> pd.DataFrame:
    """The members for a reader: hold-out errors plain and with TTA, weight, temperature if any.

    Where they held out different images, also the error on those that all did: it alone compares.
    """
    members, images, labels = ensemble.members, ensemble.valid.index, ensemble.labels
    differ = any(len(m.valid) not in (0, len(images)) for m in members)
    rows = []
    for m in members:
        held = [card["holdout"] for card in m.models]
        count, plain, tta = (sum(facts[key] for facts in held)
                             for key in ("images", "wrong_plain", "wrong_tta"))
        row = {"model": m.title, "family": m.family}
        row[f"hold-out error ({INTERVAL})"] = error_cell(plain, count)
        row["with TTA"] = error_cell(tta, count) if count else ""
        if differ and len(images) >= FEWEST_IMAGES:
            seen = ensemble.tables.get(m.name)
            common = "" if seen is None else error_cell(*wrong_of(seen, labels))
            row[f"on the {len(images):,} common images"] = common
        row["weight"] = f"{m.weight:g}"
        if any(member.temperature != 1 for member in members):
            row["temperature"] = f"{m.temperature:g}"
        rows.append(row)
    return pd.DataFrame(rows)


def answers_table(ensemble: Ensemble, answers: pd.Series) -> pd.DataFrame:
    """Members and ensemble on the test images, whose labels are `answers`; cf. members_table."""
    plain = {m.name: m.plain_test for m in ensemble.members}
    pairs = [(m.title, plain[m.name], None if m.without_tta else m.test) for m in ensemble.members]
    pairs.append((ENSEMBLE, average_of(ensemble.members, plain, ensemble.mean),
                  ensemble_probs(ensemble)))
    return pd.DataFrame(
        {"model": title, f"test error ({INTERVAL})": error_cell(*wrong_of(without, answers)),
         "with TTA": "" if tta is None else error_cell(*wrong_of(tta, answers))}
        for title, without, tta in pairs
    )


def members_sentence(ensemble: Ensemble) -> str:
    """How many members of each family, which without TTA, and why other models are left out."""
    members, used = ensemble.members, counted(ensemble.members)
    counts = sorted(Counter(member.family for member in used).items())
    kinds = ", ".join(f"{count} {name}" for name, count in counts)
    lines = [f"average of {len(used)} of {len(members)} models: {kinds}"]
    lines += [f"without TTA: {m.without_tta}" for m in used if m.without_tta]
    lines += [f"left out: {name}: {why}" for name, why in ensemble.left_out.items()]
    return "\n".join(lines)


def notebook_sentence(ensemble: Ensemble) -> str:
    """That no member is of the notebook the submission is named after; empty where some are."""
    sources = {card["notebook"] for member in ensemble.members for card in member.models}
    if ensemble.notebook in sources:
        return ""
    return (f"no model is of notebook {ensemble.notebook}: "
            f"all models of {some(sorted(sources), 5)} are averaged")


def holdout_text(ensemble: Ensemble) -> str:
    """The ensemble's hold-out error, what it gains, and what typed weights do, a line each."""
    tables, labels, valid = ensemble.tables, ensemble.labels, ensemble.valid
    error = evidence.error_phrase(*wrong_of(valid, labels))
    lines = [f"ensemble, on the images all of them held out: {error}"]
    if tables and (names := unmeasured(ensemble.members)):
        lines += [f"this is the error of the {len(tables)} that held images out; "
                  f"{len(names)} trained on all: {some(names, 3)}"]
    if why := lacking(ensemble):
        return "\n".join([*lines, why] if len(ensemble.members) > 1 else lines)
    lines += [gain_sentence(tables, labels, valid)]
    equal = average(tables.values())
    weighted = not np.allclose(equal, valid.loc[equal.index, equal.columns])
    if weighted and ensemble.why:
        lines[0] += "; each by what was learnt from others"
    elif weighted:
        lines += [_compared(valid, equal, labels, "these weights", "equal ones")[0]]
    return "\n".join(lines)


def gain_sentence(tables: Tables, labels: pd.Series, ensemble: pd.DataFrame) -> str:
    """The `ensemble` against the best single model, which these very images flatter."""
    wrong = {name: wrong_of(table, labels)[0] for name, table in tables.items()}
    best = min(sorted(wrong), key=wrong.__getitem__)
    found, gain = _compared(ensemble, tables[best], labels, f"averaging {len(tables)} models",
                            f"{best} alone, the best single model")
    alone = evidence.error_phrase(wrong[best], len(ensemble))
    remedy = "; --weights NAME=0 leaves a family or a model out, --select auto searches for weights"
    return (f"gain of the ensemble: {found}; alone {alone}"
            f"{remedy if gain.decided and gain.difference < 0 else ''}")


def _compared(
    new: pd.DataFrame, old: pd.DataFrame, labels: pd.Series, subject: str, other: str
) -> tuple[str, evidence.Comparison]:
    """The difference of `new` and `old` in images with its verdict, and in log-loss."""
    found, log_loss = evidence.compare_repeats([(new, old)], labels)
    text = evidence.sentence(found, subject, f"against {other}")
    return f"{text}; {evidence.log_loss_phrase(log_loss)}", found


def twins_sentence(ensemble: Ensemble) -> str:
    """How many test labels are taken from identical training images, and the rule on the hold-out.

    There twins are held out together: no member was trained on them, as all are on a test image's.
    """
    (held, known), valid = (ensemble.twins[split] for split in ("train", "test")), ensemble.valid
    predicted = ensemble_probs(ensemble._replace(twins={})).idxmax(axis=1)
    changed = (predicted[known.index] != known).sum()
    held = held[held.index.isin(valid.index)]
    found = evidence.compare(with_labels(valid, held), valid, ensemble.labels)
    effect = "no effect is known"
    if len(held):
        effect = evidence.sentence(found, "the label of an identical image", "there")
    return (f"{len(known):,} test images take the label of an identical training image, "
            f"{changed:,} of them another than predicted; {len(held):,} of {len(valid):,} held-out "
            f"images have such a twin: {effect}")


def contributions(ensemble: Ensemble) -> pd.DataFrame:
    """What each family of several models, and each model, adds to the equal mean, in images."""
    if lacking(ensemble):
        return pd.DataFrame()
    family_of = {member.name: member.family for member in ensemble.members}
    held = gather(ensemble.tables, family_of, ensemble.labels)
    models, kinds = np.array(held.models), np.array(held.families)
    groups = {kind: kinds == kind for kind in np.unique(kinds)}
    groups = {kind: out for kind, out in groups.items() if 1 < out.sum() < len(models)}
    whole = held.stack.sum(axis=0)  # the argmax of a sum is that of the mean
    right, rows = whole.argmax(axis=1) == held.truth, []
    for name, out in (groups | {name: models == name for name in held.models}).items():
        rest = (whole - held.stack[out].sum(axis=0)).argmax(axis=1) == held.truth
        gain = evidence.comparison_of(pd.Series(right * 1 - rest))
        error = error_cell(int((~rest).sum()), len(rest))
        rows.append([name, int(out.sum()), error, evidence.gain_phrase(gain)])
    error = f"hold-out error of the rest ({INTERVAL})"
    return pd.DataFrame(rows, columns=["without", "models", error, "contribution, images"])


def disagreement(tables: Tables) -> pd.DataFrame:
    """Model x model: the number of images for which they predict different classes."""
    joined = evidence.join(list(tables.values()))
    picks = np.array([table.to_numpy().argmax(axis=1) for table in joined])
    counts = [(picks != pick).sum(axis=1) for pick in picks]
    return pd.DataFrame(counts, index=list(tables), columns=list(tables))


def error_correlation(tables: Tables, labels: pd.Series) -> pd.DataFrame:
    """Model x model: the correlation of being wrong; NaN where a model is never wrong."""
    right = {name: pd.Series(evidence.right(table, labels) * 1.0, table.index)
             for name, table in tables.items()}
    return pd.DataFrame(right).corr()


def agreement(ensemble: Ensemble) -> str:
    """In one line, how often two members disagree, how far errors correlate, and whose most."""
    if why := lacking(ensemble):
        return why
    names, pairs = list(ensemble.tables), np.triu_indices(len(ensemble.tables), k=1)
    differ = disagreement(ensemble.tables).to_numpy()[pairs]
    errors = error_correlation(ensemble.tables, ensemble.labels).to_numpy()[pairs]
    known = errors[~np.isnan(errors)]
    pair_names = [f"{names[one]} and {names[other]}" for one, other in zip(*pairs, strict=True)]
    several = len(pair_names) > 1
    line = "two members" if several else pair_names[0]
    line += f" disagree on {_span(differ, ',')} of {len(ensemble.valid):,} images"
    if several:
        line += f", {pair_names[differ.argmin()]} least"
    if len(known):
        line += f"; their errors correlate {_span(known, '+.2f')}"
        if several:
            line += f", those of {pair_names[np.nanargmax(errors)]} most"
    return line


def _span(values: np.ndarray, form: str) -> str:
    """`38 … 121`; a single value alone."""
    low, high = (f"{value:{form}}".replace("-", "−") for value in (values.min(), values.max()))
    return low if low == high else f"{low} … {high}"


def calibrated(ensemble: Ensemble) -> tuple[float, pd.DataFrame]:
    """The temperature that fits the ensemble, and each image at one fitted on other images."""
    held = gather({ENSEMBLE: ensemble.valid}, {ENSEMBLE: ENSEMBLE}, ensemble.labels)
    probs, blend = nested(temperatures, held)
    return float(blend.temperatures[0]), pd.DataFrame(probs, held.images, held.classes)


def confidence_bins(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Images by their confidence: how many, mean confidence, share right and its interval."""
    sure = probs.to_numpy(dtype=float).max(axis=1)
    table = pd.DataFrame({"sure": sure, "right": evidence.right(probs, labels)})
    groups = table.groupby(np.minimum((sure * 10).astype(int), 9))
    bins = groups.agg(images=("right", "size"), sure=("sure", "mean"), right=("right", "mean"))
    counts = zip((bins.images * bins.right).round().astype(int), bins.images, strict=True)
    bins[["low", "high"]] = [evidence.wilson(count, images) for count, images in counts]
    return bins


def reliability_sentence(ensemble: Ensemble) -> str:
    """How confident the ensemble is, how often wrong, and whether a temperature helps."""
    if why := lacking(ensemble, models=1):
        return why
    temperature, after = calibrated(ensemble)
    before, then = (100 * probs.max(axis=1).mean() for probs in (ensemble.valid, after))
    change = evidence.compare_repeats([(after, ensemble.valid)], ensemble.labels)[1]
    verdict = "no evidence that it matters"
    if change.high < 0 or change.low > 0:
        verdict = f"evidence that it {'helps' if change.difference < 0 else 'hurts'}"
    return (f"the ensemble's mean confidence is {before:.1f} %, with "
            f"{evidence.error_phrase(*wrong_of(ensemble.valid, ensemble.labels))}; a temperature "
            f"of {temperature:.2f}, judged on images it was not fitted on, makes it {then:.1f} %: "
            f"{evidence.log_loss_phrase(change)}, {verdict}")


def class_counts(probs: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Class by class the images of `labels` (training) and those `probs` predict (submission)."""
    predicted = probs.sort_index(axis=1).idxmax(axis=1).value_counts()
    counts = pd.DataFrame({"training": labels.value_counts(), "submission": predicted})
    return counts.fillna(0).astype(int).sort_values("training", ascending=False, kind="stable")


def class_sentence(counts: pd.DataFrame) -> str:
    """Whether the submission's classes are as frequent as in training, and which is least so."""
    expected = counts.training / counts.training.sum() * counts.submission.sum()
    name = (counts.submission - expected).abs().idxmax()
    p = evidence.same_mix(counts.submission, counts.training)
    verdict = "more" if p < evidence.ALPHA else "no more"
    return (f"the class mix differs from training's {verdict} than chance explains (chi-square "
            f"p = {evidence.p_phrase(p)}); furthest off is {name}: "
            f"{counts.submission[name]:,} images where {expected[name]:,.0f} are expected")
