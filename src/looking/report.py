"""report.html: where we stand, on one page; what is missing names the command that makes it."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageOps

from src import bundle, competition, core, evidence, submission
from src import ensemble as ensembles
from src.core import UserError, models_dir, review_dir
from src.ensemble import Ensemble, figures, report
from src.evidence import INTERVAL, wrong_of
from src.looking import diagnosis, occlusion
from src.looking.page import figure, picture, write_page

WORST = 12  # of the top losses have a map of places
PIXELS = 240  # of a photograph's longer side


def write_report(notebook: str = "", name: str = "") -> Path:
    """The page of the finished models, or of the one called `name`; of none, how to begin."""
    path = core.work() / f"{'_'.join(filter(None, ['report', name]))}.html"
    if not name and not bundle.names(models_dir()):
        write_page(path, "begin.html", title="Nothing is finished yet")
        return path
    ensemble = ensembles.open_ensemble(notebook=notebook, names=[name] if name else [])
    first, *others = ensemble.members
    who = f"the ensemble of {len(others) + 1} models" if others else first.title
    facts = {key: value for part in (_data, _worth, _mistakes, _sent, _origin)
             for key, value in part(ensemble).items()}
    write_page(path, "report.html", title=f"Where we stand: {who}", who=who, **facts)
    return path


def _data(ensemble: Ensemble) -> dict[str, Any]:
    """The images of each class, predicted ones too, and the pairs of twins by kind and place."""
    counts = report.class_counts(ensembles.ensemble_probs(ensemble), ensemble.labels)
    shares = (counts / counts.sum()).map("{:.1%}".format)
    classes = (counts.map("{:,}".format) + " (" + shares + ")").reset_index(names="class")
    if (twins := _twins(ensemble)) is not None:
        known = twins[["a", "b"]].isin(ensemble.labels.index).sum(axis=1)
        where = known.map({2: "training", 1: "training and test", 0: "test"})
        twins = pd.crosstab(twins.kind, where).reset_index()
    return {"classes": classes.rename(columns={"submission": "predicted in test"}), "twins": twins,
            "counts": counts.sum(), "mix": report.class_sentence(counts),
            "mix_plot": figure(figures.class_plot(counts))}


def _twins(ensemble: Ensemble) -> pd.DataFrame | None:
    """The pairs of twins among these photographs; None where nobody has looked for them."""
    try:
        return competition.read_twins(ensemble.folder)
    except UserError:  # the page says how to look for them
        return None


def _worth(ensemble: Ensemble) -> dict[str, Any]:
    """The members, and what averaging and TTA are worth."""
    valid, labels, tables = ensemble.valid, ensemble.labels, ensemble.tables
    gain = tta = "nothing is known without images that all models held out"
    if len(valid):
        plain = {m.name: m.plain_valid.loc[valid.index] for m in ensemble.members
                 if m.name in tables}
        before = ensembles.average_of(ensemble.members, plain, ensemble.mean)
        tta = evidence.sentence(evidence.compare(valid, before, labels), "TTA", "these models")
        gain = report.gain_sentence(tables, labels, valid)
    return {"error": evidence.error_phrase(*wrong_of(valid, labels)), "tta": tta,
            "gain": "one model: nothing is averaged" if len(tables) == 1 else gain,
            "members": report.members_table(ensemble), "choice": report.members_sentence(ensemble),
            "wrong": {name: wrong_of(table, labels)[0] for name, table in tables.items()},
            "errors_plot": figure(figures.error_plot(ensemble)),
            "contributions": report.contributions(ensemble),
            "agreement": report.agreement(ensemble)}


def _mistakes(ensemble: Ensemble) -> dict[str, Any]:
    """Confusion, groups, top losses, reliability; no pairs where no image was held out."""
    valid, labels = ensemble.valid, ensemble.labels
    if valid.empty:
        return {"pairs": None}
    groups, both = competition.train_table(ensemble.folder), ""
    if (pairs := _twins(ensemble)) is not None:
        seed, split = (ensemble.members[0].models[0]["variant"][key] for key in ("seed", "split"))
        where = ensemble.folder, seed, models_dir(), split
        with suppress(UserError):  # a split that a newer table of twins refuses says nothing here
            if competition.folds_path(*where).exists():
                folds = competition.get_folds(*where)
                groups["twin in another fold"] = diagnosis.trained_twins(pairs, folds)
                leaking = competition.leaking(ensemble.folder, folds)
                both = evidence.error_both_ways(valid, labels, leaking)
    counts = diagnosis.confusion(valid, labels)
    errors = diagnosis.group_errors(valid, labels, groups)
    return {"pairs": diagnosis.confused_pairs(counts), "worst": [*_worst(ensemble)],
            "both": both,
            "confusion_plot": figure(diagnosis.confusion_plot(counts)),
            "groups": diagnosis.group_table(errors), "group": diagnosis.group_sentence(errors),
            "bins": report.confidence_bins(valid, labels),
            "reliability": report.reliability_sentence(ensemble),
            "reliability_plot": figure(figures.reliability_plot(ensemble))}


def _worst(ensemble: Ensemble) -> Iterator[dict[str, Any]]:
    """The top losses as pictures, the first of them with what the answer needs."""
    losses = diagnosis.top_losses(ensemble.valid, ensemble.labels)
    files, photos, said = competition.train_paths(ensemble.folder)[losses.index], {}, {}
    for image, file in files.items():
        try:
            photos[image] = competition.to_rgb(ImageOps.exif_transpose(Image.open(file)))
            photos[image].thumbnail((PIXELS, PIXELS))
        except Exception as error:  # PIL raises almost anything on damaged bytes
            said[image] = f"no picture: {competition.problem_of(file, error)}"
    try:
        maps = occlusion.occlusion_maps(ensemble, {i: files[i] for i in [*photos][:WORST]})
    except UserError as error:
        maps, said = {}, dict.fromkeys([*photos][:1], f"no map: {error}") | said
    for image, row in losses.iterrows():
        photo, lit = picture(photos[image]) if image in photos else "", ""
        if image in maps:
            said[image] = occlusion.place_phrase(row.predicted, maps[image])
            if maps[image].max() >= occlusion.LEAST:
                lit = picture(occlusion.lit(photos[image], maps[image]))
        yield {"image": image, "row": row, "photo": photo, "lit": lit, "why": said.get(image, "")}


def _sent(ensemble: Ensemble) -> dict[str, Any]:
    """The submission as the guard sees it, the ledger in images, the lists of a review."""
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
            "ledger": pd.DataFrame(rows, columns=columns),
            "lists": [file.name for file in review_dir().glob("*")]}


def _origin(ensemble: Ensemble) -> dict[str, Any]:
    """How to make the models again, and what this page was made with."""
    rows = [(f"python -m src.run {card['name']}", card["notebook"], card.get("created", "")[:10],
             f"{card['commit'][:8]}{'+' if card.get('dirty') else ''}")
            for member in ensemble.members for card in member.models]
    return {"origin": pd.DataFrame(rows, columns=["command", "notebook", "made", "commit"]),
            "versions": bundle.versions.installed(), "commit": core.commit(),
            "drawn": competition.is_drawn(ensemble.folder),
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M}"}
