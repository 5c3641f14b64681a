"""report.html: where we stand, on one page; what is missing names the command that makes it."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from src import bundle, competition, core, evidence, submission
from src import ensemble as ensembles
from src.core import UserError, models_dir, review_dir
from src.ensemble import Ensemble, figures, report
from src.evidence import INTERVAL, wrong_of
from src.looking import diagnosis, labels, occlusion
from src.looking.page import figure, picture, pictures, small, splits_path, write_page

WORST = 12  # of the top losses have a map of places
PIXELS = 240  # of a photograph's longer side


def write_report(notebook: str = "", name: str = "") -> Path:
    """The page of the finished models, or of the one called `name`; of none, how to begin."""
    path = core.work() / f"{'_'.join(filter(None, ['report', name]))}.html"
    if not name and not bundle.names(models_dir()):
        write_page(path, "begin.html", title="Nothing is finished yet")
        return path
    ensemble, basis = _opened(notebook, name)
    first, *others = (member for member in ensemble.members if member.weight > 0)
    who = f"the ensemble of {len(others) + 1} models" if others else first.title
    facts = _mistakes(ensemble, who)
    for part in (_data, _worth, _review, _sent, _origin):
        facts |= part(ensemble)
    write_page(path, "report.html", title=f"Where we stand: {who}", basis=basis, **facts)
    return path


def _opened(notebook: str, name: str) -> tuple[Ensemble, str]:
    """What the page is of, and why: the submission's ensemble while that is true, else equal."""
    ensemble = ensembles.open_ensemble(notebook=notebook, names=[name] if name else [])
    if name:
        return ensemble, "this model alone"
    if not (core.submissions_dir() / f"{ensemble.notebook}.csv").is_file():
        return ensemble, "the equal mean of all finished models, as there is no submission yet"
    try:
        found = ensembles.open_submission(ensemble.notebook)
        return found, f"the ensemble of the submission {ensemble.notebook}, as it was written"
    except UserError as error:
        return ensemble, f"the equal mean of all finished models: {error}"


def _data(ensemble: Ensemble) -> dict[str, Any]:
    """The images of each class, predicted ones too, pairs of twins, how the splits differ."""
    counts = report.class_counts(ensembles.ensemble_probs(ensemble), ensemble.labels)
    shares = (counts / counts.sum()).map("{:.1%}".format)
    classes = (counts.map("{:,}".format) + " (" + shares + ")").reset_index(names="class")
    twins = None
    with suppress(UserError):  # the page says how to look for them
        pairs = competition.read_twins(ensemble.folder)
        known = pairs[["a", "b"]].isin(ensemble.labels.index).sum(axis=1)
        where = known.map({2: "training", 1: "training and test", 0: "test"})
        twins = pd.crosstab(pairs.kind, where).reset_index()
    path = splits_path(ensemble.folder)
    return {"classes": classes.rename(columns={"submission": "predicted in test"}), "twins": twins,
            "counts": counts.sum(), "mix": report.class_sentence(counts),
            "mix_plot": figure(figures.class_plot(counts)),
            "shift": pd.read_csv(path, dtype=str) if path.is_file() else None}


def _worth(ensemble: Ensemble) -> dict[str, Any]:
    """The members, and what averaging and TTA are worth."""
    valid, truth, tables = ensemble.valid, ensemble.labels, ensemble.tables
    gain = tta = "nothing is known without images that all models held out"
    if len(valid):
        plain = {m.name: m.plain_valid.loc[valid.index] for m in ensemble.members
                 if m.name in tables}
        after, before = (ensembles.average_of(ensemble.members, own, ensemble.mean)
                         for own in (tables, plain))  # `valid` may be nested
        tta = evidence.sentence(evidence.compare(after, before, truth), "TTA", "these models")
        gain = report.gain_sentence(tables, truth, valid)
    return {"tta": tta, "gain": "one model: nothing is averaged" if len(tables) == 1 else gain,
            "members": report.members_table(ensemble), "choice": report.members_sentence(ensemble),
            "known": report.twins_sentence(ensemble) if ensemble.twins else "",
            "wrong": {name: wrong_of(table, truth)[0] for name, table in tables.items()},
            "errors_plot": figure(figures.error_plot(ensemble)),
            "contributions": report.contributions(ensemble),
            "agreement": report.agreement(ensemble)}


def _mistakes(ensemble: Ensemble, who: str) -> dict[str, Any]:
    """Confusion, groups, top losses, reliability; no pairs where no image was held out."""
    scope, truth, both = "", ensemble.labels, ""
    if ensemble.valid.empty and ensemble.tables:
        valid, by = ensembles.out_of_fold(ensemble)
        counts = ", ".join(f"{n:,} by {k}" for k, n in by.value_counts().sort_index().items())
        scope = (f"no image was held out by all {len(ensemble.tables)} models: {len(valid):,} of "
                 f"{len(truth):,} are judged here, each by the mean of those that did ({counts})")
        who, ensemble = "the mean of those that held each out", ensemble._replace(valid=valid)
    valid, groups = ensemble.valid, competition.train_table(ensemble.folder)
    facts = {"error": evidence.error_phrase(*wrong_of(valid, truth)), "scope": scope, "who": who}
    if valid.empty:
        return facts | {"pairs": None}
    with suppress(UserError):  # no table of twins, or one that refuses a saved split
        found = diagnosis.trained_twins(ensemble)
        groups["twin in another fold"] = found.reindex(groups.index).fillna("no twin")
        both = evidence.error_both_ways(valid, truth, found.index) if len(found) else ""
    counts = diagnosis.confusion(valid, truth)
    errors = diagnosis.group_errors(valid, truth, groups)
    return facts | {
        "pairs": diagnosis.confused_pairs(counts), "worst": [*_worst(ensemble)], "both": both,
        "confusion_plot": figure(diagnosis.confusion_plot(counts)),
        "groups": diagnosis.group_table(errors), "group": diagnosis.group_sentence(errors),
        "bins": report.confidence_bins(valid, truth),
        "reliability": report.reliability_sentence(ensemble),
        "reliability_plot": figure(figures.reliability_plot(ensemble))}


def _worst(ensemble: Ensemble) -> Iterator[dict[str, Any]]:
    """The top losses as pictures, the first of them with what the answer needs."""
    losses = diagnosis.top_losses(ensemble.valid, ensemble.labels)
    files = competition.train_paths(ensemble.folder)[losses.index]
    photos = pictures(files, PIXELS)
    seen = [image for image, photo in photos.items() if photo]
    said = {image: "this picture cannot be read" for image in photos if image not in seen}
    try:
        maps = occlusion.occlusion_maps(ensemble, {image: files[image] for image in seen[:WORST]})
    except UserError as error:
        maps, said = {}, dict.fromkeys(seen[:1], f"no map: {error}") | said
    for image, row in losses.iterrows():
        lit = ""
        if image in maps:
            said[image] = occlusion.place_phrase(row.predicted, maps[image])
            if maps[image].max() >= occlusion.LEAST:
                lit = picture(occlusion.lit(small(files[image], PIXELS), maps[image]), PIXELS)
        yield dict(image=image, row=row, photo=photos[image], lit=lit, why=said.get(image, ""))


def _review(ensemble: Ensemble) -> dict[str, Any]:
    """What a person may look at: doubted labels, what triage sorted out, pages that are there."""
    facts = {"lists": [file.name for file in review_dir().glob("*")], "doubted": "", "triage": ""}
    with suppress(UserError):
        facts["doubted"] = "{:,} of {:,}".format(*labels.doubted(ensemble.folder))
    with suppress(UserError):
        columns = ["image_id", "label", "to_person"]
        table = competition.read_csv(review_dir() / "triage.csv", columns, "")
        picks = submission.labels_of(ensembles.ensemble_probs(ensemble).sort_index(axis=1))
        if dict(zip(table.image_id, table.label, strict=True)) == picks.to_dict():
            facts["triage"] = f"{(table.to_person == 'True').sum():,} of {len(table):,}"
    return facts


def _sent(ensemble: Ensemble) -> dict[str, Any]:
    """The submission as the guard sees it, the ledger in images."""
    path = core.submissions_dir() / f"{ensemble.notebook}.csv"
    found, ledger, facts = path.is_file(), submission.sent.read_ledger()[::-1], core.load_facts()
    rows = [[row.file, row.time[:10], row.holdout_images and evidence.error_cell(
                 int(row.holdout_wrong), int(row.holdout_images)),
             row.public_right and evidence.score_in_images(row.public, facts.public),
             row.private_right and evidence.score_in_images(row.private, facts.private)]
            for row in ledger.itertuples()]
    columns = ["file", "sent", f"hold-out error ({INTERVAL})", "public", "private"]
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if found else []
    return {"submission": path.stem if found else "", "csv_rows": max(0, len(lines) - 1),
            "notebook": ensemble.notebook,
            "findings": submission.check(path, ensemble.folder) if found else [],
            "record": submission.sent.own_provenance(path) if found else {},
            "ledger": pd.DataFrame(rows, columns=columns)}


def _origin(ensemble: Ensemble) -> dict[str, Any]:
    """How to make the models again, and what this page was made with."""
    rows = [(f"python -m src.run {card['name']}", card["notebook"], card.get("created", "")[:10],
             f"{card['commit'][:8]}{'+' if card.get('dirty') else ''}")
            for member in ensemble.members for card in member.models]
    return {"origin": pd.DataFrame(rows, columns=["command", "notebook", "made", "commit"]),
            "select": ensemble.select, "why": ensemble.why, "typed": ensembles.typed(ensemble),
            "again": ensembles.again(ensemble), "rule": "identical" if ensemble.twins else "none",
            "versions": bundle.versions.installed(), "commit": core.commit(),
            "drawn": competition.is_drawn(ensemble.folder),
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}
