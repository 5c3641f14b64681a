"""Kernels on Kaggle: pushed, followed, and their bundles brought back into models/, checked.

What was pushed is remembered beside the kernel's folder, so that the same command follows a kernel
that is under way instead of pushing it twice.
"""

import json
import os
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from src import bundle, competition, kernel
from src.config import UserError, models_dir, nearest
from src.files import sha256, write_json, write_text
from src.kernel import Asked
from src.probs import read_probs
from src.variant import Variant, load_variants

FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
BUSY = "session count"  # what Kaggle says when no more of our kernels may run at once
PUSHED = "pushed.json"


class Line(NamedTuple):
    """The line to Kaggle: the client, one try of a call, and a call that is tried again."""

    api: Any
    talk: Callable[..., Any]
    ask: Callable[..., Any]


def train_rows(names: list[str], asked: Asked, line: Line) -> None:
    """Train rows of params.yaml on Kaggle and bring their bundles into models/."""
    rows = load_variants()
    for name in names:
        if name not in rows:
            raise UserError(f"params.yaml has no row {name!r}; {nearest(name, list(rows))}")
    failed = train([rows[name] for name in dict.fromkeys(names)], asked, line)
    for name, said in failed.items():
        raise UserError(f"{len(failed)} of {len(names)} not brought back; first: {name}: {said}")


def train(variants: list[Variant], asked: Asked, line: Line) -> dict[str, str]:
    """Train every variant on Kaggle, as many at once as it allows; return name → what failed."""
    waiting = [variant for variant in variants if not _is_here(variant)]
    running: list[Variant] = []
    failed: dict[str, str] = {}
    states: dict[str, str] = {}
    while waiting or running:
        while waiting and _attempt(failed, waiting[0], lambda v: _start(v, asked, line)):
            running.append(waiting.pop(0))
        running = [v for v in running if v.name not in failed]
        running = [v for v in running if not _attempt(failed, v, lambda v: _look(v, states, line))]
        if waiting or running:
            time.sleep(asked.every)
    return failed


def _attempt(failed: dict[str, str], variant: Variant, step: Callable[[Variant], bool]) -> bool:
    """Whether this step of `variant` is done, be it by failing; the others go on."""
    try:
        return step(variant)
    except UserError as error:
        failed[variant.name] = str(error)
        print(f"{variant.name}: {error}", flush=True)
        return True


def _is_here(variant: Variant) -> bool:
    """Whether models/ has this recipe already; another one of its name is refused."""
    models = models_dir()
    if not bundle.card_path(models, variant.name).is_file():
        return False
    bundle.is_done(variant, models, bundle.read_card(models, variant.name)["data"])
    print(f"{variant.name}: finished already")
    return True


def _start(variant: Variant, asked: Asked, line: Line) -> bool:
    """Push the kernel of `variant` unless an earlier push is under way; False: Kaggle is full."""
    folder = kernel.folder_of(variant)
    if (folder / PUSHED).exists():
        print(f"{variant.name}: pushed by an earlier call, following it", flush=True)
        return True
    push = kernel.build(variant, asked, line.api.get_config_value("username"))
    answer = line.talk(line.api.kernels_push, str(folder))
    if BUSY in answer.error:
        print(f"{variant.name}: waits, {answer.error}", flush=True)
        return False
    unknown = [*answer.invalid_dataset_sources, *answer.invalid_competition_sources]
    if answer.error or unknown:
        said = answer.error or f"it cannot attach {', '.join(unknown)}; is it yours, or joined?"
        raise UserError(f"Kaggle does not run it: {said}")
    write_json(folder / PUSHED, push | {"url": answer.url})
    print(f"{variant.name}: pushed, {answer.url}", flush=True)
    return True


def _look(variant: Variant, states: dict[str, str], line: Line) -> bool:
    """Whether the kernel of `variant` is over; its bundle is then in models/."""
    folder = kernel.folder_of(variant)
    slug = json.loads((folder / "kernel-metadata.json").read_text(encoding="utf-8"))["id"]
    status = line.ask(line.api.kernels_status, slug)
    state = status.status.name
    if states.get(variant.name) != state:
        print(f"{variant.name}: {state.lower()} at {time.strftime('%H:%M')}", flush=True)
        states[variant.name] = state
    if state in FAILED:
        raise UserError(_last_words(folder, status.failure_message or state.lower(), slug, line))
    if state == "COMPLETE":
        line.ask(line.api.kernels_output, slug, str(folder / "output"), _wanted(variant), True)
        bring_home(variant, folder)
    return state == "COMPLETE"


def _wanted(variant: Variant) -> str:
    """A pattern for those files of a kernel's output that are ours."""
    return rf"^(push\.json|models/(folds_.*\.csv|{variant.name}\..*))$"


def _last_words(folder: Path, reason: str, slug: str, line: Line) -> str:
    """Why a kernel failed, as far as its log tells; the next call pushes it again."""
    (folder / PUSHED).unlink()
    log = line.ask(line.api.kernels_logs, slug)
    write_text(folder / "kernel.log", log)
    try:
        said = "".join(part["data"] for part in json.loads(log))
    except (ValueError, TypeError, KeyError):
        said = log
    lines = [text.strip() for text in said.splitlines() if text.strip()]
    telling = [text for text in lines if "error" in text.lower()] or lines or ["its log is empty"]
    return f"failed on Kaggle ({reason}): {telling[-1][:200]}; see {folder / 'kernel.log'}"


def bring_home(variant: Variant, folder: Path) -> None:
    """Check the bundle a kernel left in `folder`/output and move it into models/, card last."""
    output, pushed = folder / "output", json.loads((folder / PUSHED).read_text(encoding="utf-8"))
    card = check(variant, output, pushed["push"])
    if card["variant"] != variant.recipe:
        (folder / PUSHED).unlink()
        raise UserError("Kaggle trained another recipe, the row was changed since; push it again")
    if not card["commit"]:
        card |= {"commit": pushed["commit"], "dirty": pushed["dirty"]}
    models = models_dir()
    models.mkdir(parents=True, exist_ok=True)
    for path in sorted((output / "models").glob("*")):
        ours = path.name.startswith("folds_") and (models / path.name).exists()
        if path.suffix != ".json" and not ours:
            os.replace(path, models / path.name)
    write_json(bundle.card_path(models, variant.name), card)
    (folder / PUSHED).unlink()
    print(f"{variant.name}: {bundle.holdout_line(card)}", flush=True)
    for remark in remarks(card):
        print(f"{variant.name}: {remark}", flush=True)


def check(variant: Variant, output: Path, push: str) -> dict[str, Any]:
    """The card of a fetched bundle; UserError unless every file is the one this push made."""
    models, again = output / "models", "run the same command again"
    try:
        made = json.loads((output / "push.json").read_text(encoding="utf-8"))["push"]
    except (OSError, ValueError, KeyError):
        made = ""
    if made != push:
        raise UserError(f"Kaggle's output is not that of this push yet; {again}")
    card = bundle.read_card(models, variant.name)
    if sha256(bundle.pkl_path(models, variant.name)) != card["sha256"]:
        raise UserError(f"the .pkl did not arrive whole, its sha256 is not the card's; {again}")
    for split in ("valid", "test") if card["holdout"]["images"] else ("test",):
        meta = bundle.expected_meta(card, split, card["held_out"])
        if split == "test":
            del meta["images"]  # the test images are Kaggle's; here there may be none
        read_probs(bundle.probs_path(models, variant.name, split), meta)
    return card


def remarks(card: dict[str, Any]) -> list[str]:
    """What differs between Kaggle's machine and this one: versions, and the competition's data."""
    made = {name: v.split("+")[0] for name, v in card["versions"].items() if name != "python"}
    here = {name: version(name).split("+")[0] for name in made}
    differ = [f"{name} {v} (here {here[name]})" for name, v in made.items() if v != here[name]]
    said = [f"trained with {', '.join(differ)}"] if differ else []
    try:
        images = competition.train_fingerprint(competition.find())
    except UserError:
        return said
    return said + ["trained on other images than those here"] * (images != card["data"])
