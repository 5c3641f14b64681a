"""An ensemble: its members' probabilities, how they are averaged, and the submission it writes."""

from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from src import competition
from src.competition import some
from src.core import UserError, models_dir, nearest
from src.ensemble.members import Member, counted, find_members, read_members, unmeasured
from src.ensemble.weights import SELECT, Tables, with_temperature
from src.evidence import FEWEST_IMAGES, average, error_phrase, wrong_of
from src.submission import Predicted, labels_of, submit_command, write_submission

# The parameters cell of paddy_ensemble.ipynb.
PARAMETERS = ("weights", "mean", "temperatures", "select", "data", "models", "notebook", "force")
MEANS = ("arithmetic", "geometric")
TWINS = ("none", "identical")


class Ensemble(NamedTuple):
    """The members, how they are averaged, and what they are measured by."""

    folder: Path  # of the competition
    notebook: str  # and name of the submission
    members: list[Member]
    left_out: dict[str, str]  # model that is no member → reason
    labels: pd.Series  # of the training images
    # Of the images that all measured members held out (those of fold=all are not among them): the
    # members' probabilities, and their weighted mean; no rows where there is no such image.
    tables: Tables
    valid: pd.DataFrame
    select: str  # who decides the weights, a word of SELECT
    why: str  # what the search found; empty without one
    mean: str  # a word of MEANS
    # "train" and "test" → image_id → label of identical images, taken for those of the test set.
    twins: Mapping[str, pd.Series] = MappingProxyType({})


def open_ensemble(
    weights: str = "", select: str = "equal", notebook: str = "", data: str = "",
    models: str = "", mean: str = MEANS[0], temperatures: str = "", names: Sequence[str] = (),
    trust: bool = False, twins: str = TWINS[0],
) -> Ensemble:
    """The ensemble of finished models; `weights` as typed after --weights, `names` empty for all.

    Every mistake is refused before any model predicts; missing predictions are made here.
    """
    place, folder = models_dir(models), competition.find(data)
    _require_choices(select, mean, twins, weights, temperatures)
    found, left_out = find_members(place, folder, names, notebook)
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or "it is empty"
        raise UserError(f"no model in {place} can be used ({why})",
                        "train: python -m src.run --all")
    notebooks = sorted({card["notebook"] for cards in found.values() for card in cards})
    if not notebook and len(notebooks) > 1:
        raise UserError(f"the models come from several notebooks ({', '.join(notebooks)})",
                        "add --notebook NAME")
    weight_of = _by_member(str(weights), found, "weight", 0)
    temperature_of = _by_member(str(temperatures), found, "temperature", 0.001)
    if not any(weight_of.values()):
        raise UserError("all weights are 0", "give at least one model a weight above 0")
    labels = competition.train_table(folder).label
    members = [m._replace(weight=weight_of[m.name], temperature=temperature_of[m.name])
               for m in read_members(place, folder, found, labels, trust)]
    tables = {m.name: m.valid for m in counted(members) if len(m.valid)}
    if tables:
        common = reduce(pd.Index.intersection, (table.index for table in tables.values()))
        tables = {name: table.reindex(common) for name, table in tables.items()}
    valid = average_of(members, tables, mean) if tables else members[0].valid.iloc[:0]
    notebook = notebook or notebooks[0]
    known = {} if twins == TWINS[0] else competition.identical_labels(folder)
    return Ensemble(folder, notebook, members, left_out, labels, tables, valid, select, "", mean,
                    known)


def _require_choices(
    select: str, mean: str, twins: str, weights: str, temperatures: str
) -> None:
    choices = ("select", select, SELECT), ("mean", mean, MEANS), ("twins", twins, TWINS)
    for name, value, known in choices:
        if value not in known:
            raise UserError(f"{name}={value!r} is no choice", nearest(str(value), known))
    if select != "equal" and (weights or temperatures or mean != MEANS[0]):
        raise UserError(f"select={select} searches for weights, mean and temperatures itself",
                        "give none of these, or no select")


def _by_member(text: str, found: Mapping, kind: str, least: float) -> dict[str, float]:
    """`vit=2` → member name → number, usually 1; a family's counts for each of its members."""
    family_of, given = {name: cards[0]["family"] for name, cards in found.items()}, {}
    known = [*sorted({*family_of.values()}), *found]
    for word in text.split():
        key, _, number = word.partition("=")
        if key not in known:
            raise UserError(f"no family or model {key!r} among the members", nearest(key, known))
        if key in given:
            raise UserError(f"the {kind} of {key} is given twice", "give one number")
        try:
            given[key] = float(number)
        except ValueError:
            given[key] = -1.0
        if not least <= given[key] < float("inf"):
            raise UserError(f"{kind} {word!r} is not understood",
                            f"write {key}=2, a number of {least} or more")
    return {name: given.get(name, given.get(family_of[name], 1.0)) for name in found}


def average_of(members: list[Member], tables: Tables, mean: str) -> pd.DataFrame:
    """The weighted `mean` of the `tables` of the members, at their temperatures."""
    used = [m for m in counted(members) if m.name in tables]  # not those that held nothing out
    own = []
    for m in used:
        table = tables[m.name]
        if m.temperature != 1:
            values = with_temperature(table.to_numpy(dtype=float), m.temperature)
            table = pd.DataFrame(values, table.index, table.columns)
        own.append(table)
    return average(own, [m.weight for m in used], geometric=mean == "geometric")


def out_of_fold(ensemble: Ensemble) -> tuple[pd.DataFrame, pd.Series]:
    """Every image that a member held out, by the mean of those that did; and how many did."""
    own = {m.name: m.valid for m in ensemble.members if m.name in ensemble.tables}
    held = pd.DataFrame({name: pd.Series(1, table.index) for name, table in own.items()}).notna()
    parts = []
    for who, images in held.groupby([*held]).groups.items():
        tables = {name: own[name].loc[images] for name in held.columns[[*who]]}
        parts.append(average_of(ensemble.members, tables, ensemble.mean))
    return pd.concat(parts).sort_index(), held.sum(axis=1)


def lacking(ensemble: Ensemble, models: int = 2) -> str:
    """What a comparison of so many members lacks, and what to train; empty when it has enough."""
    count, images = len(ensemble.tables), len(ensemble.valid)
    if count >= models and images >= FEWEST_IMAGES:
        return ""
    if models == 1:
        lack = f"this needs {FEWEST_IMAGES} images that all models held out; there are {images}"
    else:
        lack = (f"a comparison needs {models} models and {FEWEST_IMAGES} images that all of them "
                f"held out; there are {count} and {images}")
    who = [_held_out(member) for member in ensemble.members if len(member.valid)]
    return f"{lack}: {some(who, 5) or 'all trained on all images'}; {_remedy(ensemble, models)}"


def _remedy(ensemble: Ensemble, models: int) -> str:
    """What makes a comparison of so many members possible."""
    measured = [member for member in ensemble.members if member.name in ensemble.tables]
    unused = [m.name for m in ensemble.members if m.weight == 0 and len(m.valid)]
    if len(measured) < models <= len(measured) + len(unused):
        return f"give {some(unused, 3)} a weight above 0"
    if not measured:
        return "train models with a fold, the same for all"
    if len(measured) < models:
        return "train another model for the same fold"
    if all(len(member.valid) == len(ensemble.valid) for member in measured):
        return "train more of their folds"
    return "train them for the same fold"


def _held_out(member: Member) -> str:
    variant = member.models[0]["variant"]
    folds = ", ".join(str(card["variant"]["fold"]) for card in member.models)
    fold = f"fold {folds} of seed {variant['seed']}, {variant['split']}"
    weight = "" if member.weight else " (weight 0)"
    return f"{member.title}{weight} held out {fold}"


def typed(ensemble: Ensemble) -> dict[str, str]:
    """How the members are averaged, as --weights, --mean and --temperatures take it."""
    weights = " ".join(f"{m.name}={m.weight:g}" for m in ensemble.members)
    temperatures = " ".join(f"{m.name}={m.temperature:g}" for m in ensemble.members
                            if m.temperature != 1)
    return {"weights": weights, "mean": ensemble.mean, "temperatures": temperatures}


def ensemble_probs(ensemble: Ensemble) -> pd.DataFrame:
    """The ensemble's probabilities of the test images, 1 for a label that is taken from a twin."""
    tests = {m.name: m.test for m in ensemble.members}
    probs = average_of(ensemble.members, tests, ensemble.mean)
    return with_labels(probs, ensemble.twins["test"]) if ensemble.twins else probs


def with_labels(probs: pd.DataFrame, known: pd.Series) -> pd.DataFrame:
    """`probs` with probability 1 for the labels of the images that are `known`."""
    known = known[known.index.isin(probs.index)]
    probs = probs.copy()
    probs.loc[known.index] = 1.0 * (known.to_numpy()[:, None] == probs.columns.to_numpy())
    return probs


def provenance(ensemble: Ensemble) -> dict[str, Any]:
    """The members and their weights, who chose these, the error on the hold-out."""
    used, (wrong, images) = counted(ensemble.members), wrong_of(ensemble.valid, ensemble.labels)
    expected: dict[str, Any] = {"images": images}
    if images:  # the guard expects the mix of labels, and the agreement with each plain member
        picks = labels_of(ensemble.valid)
        expected["labels"] = picks.value_counts().sort_index().to_dict()
        plain = {m.name: labels_of(m.plain_valid).reindex(picks.index) for m in used}
        expected["agree"] = {name: int((labels == picks).sum()) for name, labels in plain.items()}
    return {
        "members": [_origin(m) for m in used],
        "select": ensemble.select, "why": ensemble.why, **typed(ensemble),
        "twins": TWINS[bool(ensemble.twins)], "twin_labels": {**ensemble.twins.get("test", {})},
        "holdout": {"wrong": wrong if images else None, "images": images},
        "not_in_holdout": unmeasured(used), "expected": expected,
    }  # fmt: skip


def _origin(member: Member) -> dict[str, Any]:
    models = {c["name"]: {key: c[key] for key in ("sha256", "commit")} for c in member.models}
    origin = {"name": member.name, "family": member.family, "weight": member.weight,
              "tta": member.models[0]["variant"]["tta"], "models": models}
    return origin | ({"tta": "none", "why": member.without_tta} if member.without_tta else {})


def write_ensemble(
    ensemble: Ensemble, good: Sequence[Path] | None = None, force: bool = False
) -> Path:
    """Guard and write the submission, and print how to send it."""
    probs, facts, folder = ensemble_probs(ensemble), provenance(ensemble), ensemble.folder
    used = [Predicted(m.name, m.plain_valid, m.plain_test) for m in counted(ensemble.members)]
    path = write_submission(probs, folder, ensemble.notebook, facts, good, force, used)
    error = error_phrase(**facts["holdout"])
    if len(ensemble.valid):
        error = f"hold-out {error}"
    print(f"\nwritten: {path}")
    if competition.is_drawn(folder):
        print("not for Kaggle: the competition is drawn, nobody there knows its images")
    else:
        print(submit_command(path, f"{ensemble.notebook}: {len(used)} models, {error}"))
    return path
