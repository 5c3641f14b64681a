"""The ensemble of a submission that was written, as its .json has it."""

import shlex
from collections.abc import Iterable

import pandas as pd

from src.competition import some
from src.core import UserError, submissions_dir
from src.ensemble.ensemble import MEANS, TWINS, Ensemble, ensemble_probs, open_ensemble, typed
from src.ensemble.search import find_trials, reweigh
from src.submission import labels_of, read_submission, sent

RECORD = ("weights", "mean", "temperatures")  # of a .json, as open_ensemble takes them


def submissions() -> list[str]:
    """The names of those that have a .json."""
    return sorted(path.stem for path in submissions_dir().glob("[!.]*.json"))


def open_submission(name: str) -> Ensemble:
    """The ensemble of submission `name`, refused unless it still predicts the labels of the CSV.

    Weights that were searched are searched again: every held-out image is by others' weights.
    """
    path = submissions_dir() / f"{name}.csv"
    record = sent.read_provenance(path)
    if not {"members", "select", *RECORD} <= record.keys():
        raise UserError(f"no submission {name!r} of an ensemble; found: "
                        f"{some(submissions()) or 'none'}",
                        "add --submission NAME, or write one: python -m src.ensemble")
    names = [word.rpartition("=")[0] for word in record["weights"].split()]
    given = {key: record[key] for key in RECORD if record["select"] == "equal"}
    ensemble = open_ensemble(select=record["select"], notebook=name, names=names,
                             twins=record.get("twins", TWINS[0]), **given)
    if ensemble.select != "equal":
        ensemble = reweigh(ensemble, find_trials(ensemble))
    if why := _changed(ensemble, record["members"], read_submission(path)[0]):
        raise UserError(f"submission {name} is not what its models predict now: {why}",
                        f"write it again: {again(ensemble)}")
    return ensemble


def _changed(ensemble: Ensemble, members: Iterable[dict], table: pd.DataFrame | None) -> str:
    """What is not as it was when the `table` was written of the `members`; empty if nothing is."""
    models = {name: facts["sha256"] for m in members for name, facts in m["models"].items()}
    cards = [card for member in ensemble.members for card in member.models]
    if other := [c["name"] for c in cards if models.get(c["name"], c["sha256"]) != c["sha256"]]:
        return f"{some(other, 3)} trained again since"
    written = {} if table is None else dict(zip(table.image_id, table.label, strict=True))
    labels = labels_of(ensemble_probs(ensemble).sort_index(axis=1)).to_dict()
    if differ := {image for image, _ in {*written.items()} ^ {*labels.items()}}:
        return (f"{len(differ):,} of {len(labels):,} labels differ (predicted again with other "
                "TTA, more folds, or edited)")
    return ""


def again(ensemble: Ensemble) -> str:
    """The command that writes the submission of `ensemble`."""
    given = typed(ensemble) if ensemble.select == "equal" else {"select": ensemble.select}
    if len({member.weight for member in ensemble.members}) == 1:
        given["weights"] = ""
    given |= {"twins": TWINS[bool(ensemble.twins)], "notebook": shlex.quote(ensemble.notebook)}
    words = [f"--{key} {value}" for key, value in given.items()
             if value not in ("", MEANS[0], TWINS[0])]
    return " ".join(["python -m src.ensemble", *(m.name for m in ensemble.members), *words])
