"""Which test images go to a person, so that those that stay are right as often as promised."""

from collections.abc import Iterable
from contextlib import suppress

import numpy as np
import pandas as pd

from src.competition import some
from src.core import UserError, models_dir, review_dir, submissions_dir, write_text
from src.ensemble import Ensemble, ensemble_probs, find_members, lacking, open_submission
from src.ensemble import submissions as written
from src.evidence import ALPHA, FLOOR, INTERVAL, as_text, error_cell, error_phrase, join
from src.evidence import right as right_of
from src.submission import labels_of, sent

UNLIKE = 0.01  # the share of held-out images that are called none of the classes


def triage(right: float, submission: str = "") -> str:
    """Write triage.csv of a submission; what is promised of the images that stay, and by what."""
    if not 0 < right < 1:
        raise UserError(f"--right {right:g} is no share between 0 and 1", "write --right 0.995")
    ensemble = open_submission(submission or " or ".join(written()))
    if why := lacking(ensemble, models=1):
        raise UserError(why)
    held = judged(ensemble.valid, ensemble.tables.values())
    held["right"] = right_of(ensemble.valid, ensemble.labels)
    most = held.disagreement.quantile(1 - UNLIKE) if len(ensemble.tables) > 1 else np.inf
    usual = held[held.disagreement <= most]
    least = threshold(usual.probability.to_numpy(), usual.right.to_numpy(), right)
    measured = [m.test for m in ensemble.members if m.name in ensemble.tables]
    test = judged(ensemble_probs(ensemble), measured).sort_values("probability", kind="stable")
    known = {**ensemble.twins.get("test", {})}
    unlike, unsure = (test.disagreement > most) & ~test.index.isin(known), test.probability < least
    test["to_person"], reasons = unlike | unsure, ["none of the classes?", f"below {least:.4f}"]
    test["reason"] = np.select([unlike, unsure], reasons, "")
    path = review_dir() / "triage.csv"
    write_text(path, test.drop(columns="disagreement").to_csv(lineterminator="\n"))
    stay = usual[usual.probability >= least]
    lines = [*_promise(test, stay, right, least), *_limits(ensemble, int(unlike.sum()), len(test))]
    return "\n".join([*lines, "", as_text(class_table(test, stay)), "", f"written: {path}"])


def judged(probs: pd.DataFrame, tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """By image its label and probability, and how much the `tables` of the members disagree."""
    probs = probs.sort_index(axis=1)  # a tie is decided by name, as in the submission
    facts = {"label": labels_of(probs), "probability": probs.max(axis=1)}
    return pd.DataFrame(facts | {"disagreement": disagreement(tables)}, probs.index)


def disagreement(tables: Iterable[pd.DataFrame]) -> pd.Series:
    """By image, the entropy of the members' mean less the mean of their entropies, in nats."""
    joined = join(list(tables))
    stack = np.clip([table.to_numpy(dtype=float) for table in joined], FLOOR, 1)
    whole, own = (-(probs * np.log(probs)).sum(axis=-1) for probs in (stack.mean(axis=0), stack))
    return pd.Series((whole - own.mean(axis=0)).round(9), joined[0].index)


def threshold(sure: np.ndarray, right: np.ndarray, wish: float) -> float:
    """The lowest probability, of `sure`, from which on a share `wish` is proved to be right."""
    from scipy.stats import beta  # slow to load

    order, images = np.argsort(-sure, kind="stable"), np.arange(1, len(sure) + 1)
    ranked, wrong = sure[order], (~right[order]).cumsum()
    # The one-sided exact bound of Clopper and Pearson.
    proved = beta.ppf(ALPHA, images - wrong, wrong + 1)
    proved[(wrong == images) | (ranked == np.append(ranked[1:], -1))] = 0  # the last of equal ones
    if (enough := np.flatnonzero(proved >= wish)).size:
        return float(ranked[enough[-1]])
    best, can = proved.argmax(), (ALPHA ** (1 / len(sure)), proved.max())
    limit, here = (f"{np.floor(1e4 * share) / 1e4:.4f}" for share in can)
    raise UserError(f"--right {wish:g} cannot be proved: {len(sure):,} held-out images prove at "
                    f"most {limit}, about 1 − 3/{len(sure):,}, with none wrong; here {here}, the "
                    f"surest {images[best]:,} with {wrong[best]:,} wrong", f"write --right {here} "
                    "or less, or train more folds or better models")


def class_table(test: pd.DataFrame, stay: pd.DataFrame) -> pd.DataFrame:
    """By predicted class, how many test images go to a person, and the error of what stays."""
    person, right = test.groupby("label").to_person, stay.groupby("label").right
    errors = {name: error_cell(int((~group).sum()), len(group)) for name, group in right}
    table = person.agg(["size", "sum"]).rename_axis("predicted").reset_index()
    table["error"] = table.predicted.map(errors).fillna("none held out stays")
    return table.set_axis(["predicted", "test images", "to a person",
                           f"hold-out error of what stays ({INTERVAL})"], axis=1)


def _promise(test: pd.DataFrame, stay: pd.DataFrame, right: float, least: float) -> list[str]:
    """How many test images stay, and how many errors are expected among them."""
    person, wrong = int(test.to_person.sum()), int((~stay.right).sum())
    rest = len(test) - person
    return [f"to a person: {person:,} of {len(test):,} test images ({100 * person / len(test):.1f} "
            f"%); {rest:,} stay, of probability {least:.4f} or more",
            f"held-out images that stay: {error_phrase(wrong, len(stay))}",
            f"errors expected among the {rest:,}: {rest * wrong / len(stay):.1f}, at most "
            f"{rest * (1 - right):.1f} with {1 - ALPHA:.0%} confidence (one-sided exact bound)"]


def _limits(ensemble: Ensemble, unlike: int, images: int) -> list[str]:
    """How many may be none of the classes, and what makes the promise less than it says."""
    used = [m for m in ensemble.members if m.weight > 0]
    lines = ["none of the classes: not looked for; two members that held out the same images are "
             "needed, for only where they disagree it shows"]
    if len(ensemble.tables) > 1:
        lines = [f"none of the classes?: {unlike:,} of {images:,} test images, about which members "
                 f"disagree as for 1 in 100 held out; {UNLIKE * images:.1f} are expected by "
                 "chance, and few of those that are none are found: docs/looking.md has figures"]
    given = {(m.weight, m.temperature) for m in used} | {(used[0].weight, 1.0)}
    fitted = ensemble.select == "equal" and (len(given) > 1 or ensemble.mean == "geometric")
    chosen = ["the typed weights or mean"] * fitted
    if left := _left_out(ensemble):
        chosen += [f"the choice of members, without {some(left, 3)},"]
    if chosen:
        lines += [f"optimistic: {' and '.join(chosen)} may be fitted to these very held-out "
                  "images; python -m src.ensemble --select auto fits weights to others, of all"]
    if others := [m.title for m in used if len(m.models) > 1 or m.valid.empty]:
        lines += [f"measured on models that held the image out; test images have more of "
                  f"{some(others, 3)}"]
    if ensemble.twins:
        lines += [f"{len(ensemble.twins['test']):,} test images have the label of an identical "
                  "training image (--twins identical), with probability 1"]
    return lines


def _left_out(ensemble: Ensemble) -> list[str]:
    """Models without a weight, though they were finished when the submission was written."""
    record = sent.read_provenance(submissions_dir() / f"{ensemble.notebook}.csv")
    used = {card["name"] for m in ensemble.members for card in m.models
            if m.weight > 0 or ensemble.select != "equal"}
    with suppress(UserError):  # of a damaged one that is no member
        known = find_members(models_dir(), ensemble.folder, [], ensemble.notebook)[0].values()
        return [card["name"] for cards in known for card in cards if card["name"] not in used
                and card.get("created", "") <= record.get("created", "")]
    return []
