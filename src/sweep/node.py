"""What a node of a Ray cluster does: it says whether it is fit for work, trains, sends bundles."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, NamedTuple

from src import bundle, competition
from src.bundle import versions
from src.core import UserError, make_variant, sha256_lines, sweep_dir, write_text
from src.sweep.engines import VISIBLE
from src.sweep.folder import file_of, progress_of
from src.sweep.work import Outcome, Place, Row, State, work

CHUNK = 16 * 2**20  # bytes of a bundle that are one object of Ray's


class Wanted(NamedTuple):
    """What a node must have to get work: the driver's data and versions."""

    data: str
    versions: dict[str, str]
    mixed: bool  # other versions are allowed, and in the card
    probe: str  # a file of the driver's models folder: nodes that see it write there
    sweep: str  # the driver's folder of logs and locks


def on_node(
    fields: dict[str, Any], wanted: Wanted, place: Place, folds: dict[str, str]
) -> Iterator[Any]:
    """Train a row here: its progress, its Outcome, then what the driver does not see itself.

    That is the log of a failure, else the files of the bundle in pieces.
    """
    try:
        row = _row_here(fields, wanted, folds)
    except (UserError, OSError) as error:
        yield Outcome("", "", State.FAILED, str(error), retry=True)  # another node may be fit
        return
    card = {VISIBLE: os.environ.get(VISIBLE, "")}  # set by Ray, for the task's own
    with ThreadPoolExecutor(1) as pool:
        future, last = pool.submit(work, row, Place(place.name, place.env | card)), {}
        while not wait([future], 1).done:
            if (now := progress_of(row.name)) != last:
                yield (last := now)
    yield (outcome := future.result())
    log = file_of(row.name, "log")
    if outcome.state == State.FAILED and not place.shared and log.is_file():
        yield log.read_bytes()[-CHUNK:]
    if outcome.state == State.DONE and not Path(wanted.probe).is_file():
        yield from pieces(row)


def inspect(wanted: Wanted) -> tuple[str, bool]:
    """Why this node gets no work, and whether logs and locks here are those of the driver."""
    return unfit(wanted), Path(wanted.probe).is_file() and str(sweep_dir()) == wanted.sweep


def unfit(wanted: Wanted) -> str:
    """Why this node gets no work, with the remedy; empty if it can have some."""
    if differ := [] if wanted.mixed else versions.differing(wanted.versions):
        return (f"has other versions: {', '.join(differ)}; install those, or --mixed-versions "
                "records them in the card")
    if not os.environ.get("PADDY_WORK") and not Path(wanted.probe).is_file():
        return "has no PADDY_WORK; start Ray there with PADDY_WORK=DIR"
    try:
        data = data_of(competition.find())
    except UserError as error:
        return str(error)
    if data != wanted.data:
        return "has other photographs or labels; start Ray with PADDY_DATA=DIR of the driver's"
    return ""


def data_of(folder: Path) -> str:
    """A digest of training and test images: a bundle has predictions of both."""
    return competition.train_fingerprint(folder) + competition.test_fingerprint(folder)


def _row_here(fields: dict[str, Any], wanted: Wanted, folds: dict[str, str]) -> Row:
    """The row with this node's data; its models go where a retry finds the checkpoint."""
    if why := unfit(wanted):
        raise UserError(why)
    variant, models = make_variant(**fields), Path(wanted.probe).parent
    if not Path(wanted.probe).is_file():
        recipe = sha256_lines([json.dumps(variant.recipe, sort_keys=True, default=str)])
        models = sweep_dir() / recipe[:16]
        for name, text in folds.items():
            write_text(models / name, text)
    return Row(variant, competition.find(), models)


def pieces(row: Row) -> Iterator[Any]:
    """The files of a finished bundle, the card last, in pieces: its name and some bytes."""
    card = bundle.card_path(row.models, row.name)
    splits = bundle.splits(bundle.read_card(row.models, row.name))
    tables = [bundle.probs_path(row.models, row.name, split) for split in splits]
    for path in (*filter(Path.exists, tables), bundle.pkl_path(row.models, row.name), card):
        with open(path, "rb") as file:
            while piece := file.read(CHUNK):
                yield path.name, piece
