"""Kernels on Kaggle: pushed, followed, and fetched when they are over.

What was pushed is remembered beside the kernel's folder, so that the same command follows a kernel
that is under way instead of pushing it twice.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from src import bundle
from src.core import (
    UserError,
    Variant,
    load_variants,
    models_dir,
    nearest,
    require_once,
    write_json,
    write_text,
)
from src.kaggle_api import fetched, kernel, session
from src.kaggle_api.kernel import PUSHED, Asked
from src.kaggle_api.session import Cut

FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
BUSY = "session count"  # what Kaggle says when no more of our kernels may run at once


class Line(NamedTuple):
    """The line to Kaggle: the client, one try of a call, and a call that is tried again."""

    api: Any
    talk: Callable[..., Any]
    ask: Callable[..., Any]


def train_rows(names: list[str], asked: Asked, line: Line) -> None:
    """Train rows of params.yaml on Kaggle and bring their bundles into models/."""
    require_once(names)
    rows = load_variants()
    for name in names:
        if name not in rows:
            raise UserError(f"params.yaml has no row {name!r}; {nearest(name, list(rows))}")
    failed = train([rows[name] for name in names], asked, line)
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
    """Whether models/ has this recipe already; another one of its name is refused.

    A training that Kaggle's session cut is none: it can be continued.
    """
    models = models_dir()
    if not bundle.card_path(models, variant.name).is_file():
        return False
    card = bundle.read_card(models, variant.name)
    bundle.is_done(variant, models, card["data"])
    if session.is_cut(variant, card):
        return False
    print(f"{variant.name}: finished already")
    return True


def _start(variant: Variant, asked: Asked, line: Line) -> bool:
    """Push the kernel of `variant` unless an earlier push is under way; False: Kaggle is full."""
    folder = kernel.folder_of(variant)
    if (folder / PUSHED).exists():
        print(f"{variant.name}: pushed by an earlier call, following it", flush=True)
        return True
    cut = session.read_cut(variant.name)
    push = kernel.build(variant, asked, line.api.get_config_value("username"), cut)
    answer = line.talk(line.api.kernels_push, str(folder))
    if BUSY in answer.error:
        print(f"{variant.name}: waits, {answer.error}", flush=True)
        return False
    unknown = [*answer.invalid_dataset_sources, *answer.invalid_competition_sources]
    unknown += answer.invalid_model_sources
    if answer.error or unknown:
        said = answer.error or f"it cannot attach {', '.join(unknown)}; is it yours, or joined?"
        raise UserError(f"Kaggle does not run it: {said}")
    write_json(folder / PUSHED, push | {"url": answer.url})
    print(f"{variant.name}: pushed, {answer.url}", flush=True)
    if answer.invalid_kernel_sources:
        print(f"{variant.name}: begins anew, {cut.kernel} cannot be attached", flush=True)
    elif cut:
        known = f"{cut.kernel} {cut.after}".strip()
        print(f"{variant.name}: continues {known} if code and data are the same", flush=True)
    return True


def _look(variant: Variant, states: dict[str, str], line: Line) -> bool:
    """Whether the kernel of `variant` is over; its bundle is then in models/."""
    folder = kernel.folder_of(variant)
    slug = kernel.pushed(folder)["kernel"]
    status = line.ask(line.api.kernels_status, slug)
    state = status.status.name
    if states.get(variant.name) != state:
        print(f"{variant.name}: {state.lower()} at {time.strftime('%H:%M')}", flush=True)
        states[variant.name] = state
    if state in FAILED:
        reason = _last_words(folder, status.failure_message or state.lower(), slug, line)
        raise UserError(reason + _left_checkpoint(variant, folder, line))
    if state == "COMPLETE":
        line.ask(line.api.kernels_output, slug, str(folder / "output"), _wanted(variant), True)
        fetched.bring_home(variant, folder)
    return state == "COMPLETE"


def _wanted(variant: Variant) -> str:
    """A pattern for those files of a kernel's output that are ours."""
    return rf"^(push\.json|models/(folds_.*\.csv|{variant.name}\..*))$"


def _left_checkpoint(variant: Variant, folder: Path, line: Line) -> str:
    """What the next push does after a failure: note the checkpoint in the output, if there is one.

    Without one, what an earlier kernel has left stays noted.
    """
    push = kernel.pushed(folder)
    name = bundle.checkpoint_path(Path(), variant.name).name
    files = line.ask(line.api.kernels_list_files, push["kernel"], page_size=200).files
    if any(Path(file.name).name == name for file in files):
        session.write_cut(variant.name, Cut(push["kernel"], push["part"], ""))
    (folder / PUSHED).unlink()
    return "; push it again to continue" if session.read_cut(variant.name) else ""


def _last_words(folder: Path, reason: str, slug: str, line: Line) -> str:
    """Why a kernel failed, as far as its log tells."""
    log = line.ask(line.api.kernels_logs, slug)
    write_text(folder / "kernel.log", log)
    try:
        said = "".join(part["data"] for part in json.loads(log))
    except (ValueError, TypeError, KeyError):
        said = log
    lines = [text.strip() for text in said.splitlines() if text.strip()]
    telling = [text for text in lines if "error" in text.lower()] or lines or ["its log is empty"]
    return f"failed on Kaggle ({reason}): {telling[-1][:200]}; see {folder / 'kernel.log'}"
