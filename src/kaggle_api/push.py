"""Kernels on Kaggle: pushed, followed, and fetched when they are over.

A push is noted beside the kernel's folder, so the same command follows a kernel that is under way
instead of pushing it twice.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from src import bundle
from src.core import UserError, Variant, load_variants, models_dir, nearest, require_once
from src.kaggle_api import drawn
from src.kaggle_api.client import call, call_with_retry, client
from src.kaggle_api.install import install
from src.kaggle_api.kernel import CUT, PUSHED, build, is_cut, kernels_dir, read_note, write_note

FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
BUSY = "session count"  # in Kaggle's message when no more of our kernels may run at once


def push(names: list[str], datasets: list[str], internet: bool | None, every: float) -> None:
    """Train rows of params.yaml on Kaggle, as many at once as it allows, and fetch the bundles.

    Kaggle is polled `every` so many seconds; `datasets` (OWNER/NAME) are attached.
    """
    drawn.require_real()
    waiting = [variant for variant in _rows(names) if not _is_finished(variant)]
    running: list[Variant] = []
    failed: dict[str, str] = {}
    states: dict[str, str] = {}
    while waiting or running:
        while waiting and _attempt(failed, waiting[0], _start, datasets, internet):
            running.append(waiting.pop(0))
        running = [v for v in running if v.name not in failed]
        running = [v for v in running if not _attempt(failed, v, _poll, states)]
        if waiting or running:
            time.sleep(every)
    if failed:
        name, error = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(names)} not fetched; first: {name}: {error}")


def _rows(names: list[str]) -> list[Variant]:
    """The rows of params.yaml with these names."""
    require_once(names)
    rows = load_variants()
    if unknown := [name for name in names if name not in rows]:
        hint = nearest(unknown[0], list(rows))
        raise UserError(f"params.yaml has no row {unknown[0]!r}; {hint}")
    return [rows[name] for name in names]


def _is_finished(variant: Variant) -> bool:
    """Whether models/ has this recipe already; another one of its name is refused.

    A training that Kaggle's session cut is not finished: it can be continued.
    """
    models = models_dir()
    if not bundle.card_path(models, variant.name).is_file():
        return False
    card = bundle.read_card(models, variant.name)
    bundle.is_done(variant, models, card["data"])
    if is_cut(variant, card):
        return False
    print(f"{variant.name}: finished already")
    return True


def _attempt(
    failed: dict[str, str], variant: Variant, step: Callable[..., bool], *args: Any
) -> bool:
    """Whether this step of `variant` is over, also by failing; the others go on."""
    try:
        return step(variant, *args)
    except UserError as error:
        failed[variant.name] = str(error)
        print(f"{variant.name}: {error}", flush=True)
        return True


def _start(variant: Variant, datasets: list[str], internet: bool | None) -> bool:
    """Push the kernel of `variant` unless an earlier push is under way; False: Kaggle is full."""
    name, api = variant.name, client()
    if read_note(PUSHED, name):
        print(f"{name}: pushed by an earlier call, following it", flush=True)
        return True
    cut = read_note(CUT, name)
    push = build(variant, api.get_config_value("username"), datasets, internet, cut)
    answer = call(api.kernels_push, str(kernels_dir() / name))
    if BUSY in answer.error:
        print(f"{name}: waits, {answer.error}", flush=True)
        return False
    _require_accepted(answer)
    write_note(PUSHED, name, push | {"url": answer.url})
    print(f"{name}: pushed, {answer.url}", flush=True)
    if answer.invalid_kernel_sources:
        print(f"{name}: begins anew, {cut['kernel']} cannot be attached", flush=True)
    elif cut:
        known = f"{cut['kernel']} {cut['after']}".strip()
        print(f"{name}: continues {known} if code and data are the same", flush=True)
    return True


def _require_accepted(answer: Any) -> None:
    """Refuse a push that Kaggle does not run, or not with everything attached."""
    missing = [*answer.invalid_dataset_sources, *answer.invalid_competition_sources,
               *answer.invalid_model_sources]
    if answer.error or missing:
        reason = answer.error or f"it cannot attach {', '.join(missing)}; is it yours, or joined?"
        raise UserError(f"Kaggle does not run it: {reason}")


def _poll(variant: Variant, states: dict[str, str]) -> bool:
    """Whether the kernel of `variant` is over; its bundle is then in models/."""
    name, api, push = variant.name, client(), read_note(PUSHED, variant.name)
    status = call_with_retry(api.kernels_status, push["kernel"])
    state = status.status.name
    if states.get(name) != state:
        print(f"{name}: {state.lower()} at {time.strftime('%H:%M')}", flush=True)
        states[name] = state
    if state in FAILED:
        reason = _failure(name, status.failure_message or state.lower(), push)
        _note_checkpoint(name, push)
        again = "; push it again to continue" if read_note(CUT, name) else ""
        raise UserError(reason + again)
    if state == "COMPLETE":
        ours = rf"^(push\.json|models/(folds_.*\.csv|{name}\..*))$"
        output = str(kernels_dir() / name / "output")
        call_with_retry(api.kernels_output, push["kernel"], output, ours, True)
        install(variant, push)
    return state == "COMPLETE"


def _failure(name: str, reason: str, push: dict[str, Any]) -> str:
    """Why a kernel failed: the last line of its log with an error, else its last line."""
    log, path = call_with_retry(client().kernels_logs, push["kernel"]), kernels_dir() / name
    (path / "kernel.log").write_text(log, encoding="utf-8")
    try:
        text = "".join(part["data"] for part in json.loads(log))
    except (ValueError, TypeError, KeyError):
        text = log
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines or ["its log is empty"]
    return f"failed on Kaggle ({reason}): {errors[-1][:200]}; see {path / 'kernel.log'}"


def _note_checkpoint(name: str, push: dict[str, Any]) -> None:
    """After a failure: the next push continues from a checkpoint in the output, if there is one.

    Without one, that of an earlier kernel stays noted.
    """
    files = call_with_retry(client().kernels_list_files, push["kernel"], page_size=200).files
    checkpoint = bundle.checkpoint_path(Path(), name).name
    if any(Path(file.name).name == checkpoint for file in files):
        facts = {"kernel": push["kernel"], "part": push["part"], "after": ""}
        write_note(CUT, name, facts)
    write_note(PUSHED, name, {})
