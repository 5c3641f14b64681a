"""Kernels on Kaggle: pushed, followed, and fetched when they are over.

A push is noted beside the kernel's folder, so the same command follows a kernel that is under way
instead of pushing it twice.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src import bundle, core
from src.bundle import versions
from src.core import UserError, Variant
from src.kaggle_api.client import call, call_with_retry, client, require_real
from src.kaggle_api.kernel import build, kernel_dir, limited

FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
BUSY = "session count"  # in Kaggle's message when no more of our kernels may run at once
PUSHED = "/pushed.json"  # the push that runs on Kaggle: push, kernel, part, commit, dirty, url
# A kernel that ended before its training: kernel (its output holds the checkpoint), part (1 for
# the first kernel of a training), after ("after epoch 7 of 13", empty when that is not known).
CUT = ".cut.json"


def push(names: list[str], datasets: list[str], internet: bool | None, every: float) -> None:
    """Train rows of params.yaml on Kaggle, as many at once as it allows, and fetch the bundles.

    Kaggle is polled `every` so many seconds; `datasets` (OWNER/NAME) are attached.
    """
    require_real()
    left = [variant for variant in core.find_variants(names) if not _is_finished(variant)]
    states = {variant.name: "" for variant in left}
    failed: dict[str, str] = {}
    while left:
        full = False  # until a push is refused because others run
        for variant in [*left]:
            try:
                if _read_note(PUSHED, variant.name):
                    over = _poll(variant, states)
                else:
                    full = full or not _start(variant, datasets, internet)
                    over = False
            except UserError as error:
                over, failed[variant.name] = True, str(error)
                print(f"{variant.name}: {error}", flush=True)
            if over:
                left.remove(variant)
        if left:
            time.sleep(every)
    if failed:
        name, error = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {len(names)} not fetched; first: {name}: {error}")


def is_cut(variant: Variant, card: Mapping[str, Any]) -> bool:
    """Whether epochs are left because of Kaggle's session, not of the row's own time limit."""
    training = card.get("training", {})
    return limited(variant) != variant and training.get("epochs") != training.get("planned")


def _is_finished(variant: Variant) -> bool:
    """Whether models/ has this recipe, not cut by Kaggle; another one of its name is refused."""
    models = core.models_dir()
    if not bundle.card_path(models, variant.name).is_file():
        return False
    card = bundle.read_card(models, variant.name)
    finished = bundle.is_done(variant, models, card["data"]) and not is_cut(variant, card)
    if finished:
        print(f"{variant.name}: finished already")
    return finished


def _start(variant: Variant, datasets: list[str], internet: bool | None) -> bool:
    """Push the kernel of `variant`; False where Kaggle runs no more of ours at once."""
    name, api, cut = variant.name, client(), _read_note(CUT, variant.name)
    facts = build(variant, api.get_config_value("username"), datasets, internet, cut)
    answer = call(api.kernels_push, str(kernel_dir(name)))
    if BUSY in answer.error:
        print(f"{name}: waits, {answer.error}", flush=True)
        return False
    # Kaggle runs it also without what it cannot attach.
    missing = [*answer.invalid_dataset_sources, *answer.invalid_competition_sources,
               *answer.invalid_model_sources]
    if answer.error or missing:
        reason = answer.error or f"it cannot attach {', '.join(missing)}; is it yours, or joined?"
        raise UserError(f"Kaggle does not run it: {reason}")
    _write_note(PUSHED, name, facts | {"url": answer.url})
    print(f"{name}: pushed, {answer.url}", flush=True)
    if answer.invalid_kernel_sources:
        print(f"{name}: starts over, {cut['kernel']} cannot be attached", flush=True)
    elif cut:
        known = f"{cut['kernel']} {cut['after']}".strip()
        print(f"{name}: continues {known} if code and data are the same", flush=True)
    return True


def _poll(variant: Variant, states: dict[str, str]) -> bool:
    """Whether the kernel of `variant` is over; its bundle is then in models/."""
    name, api, facts = variant.name, client(), _read_note(PUSHED, variant.name)
    status = call_with_retry(api.kernels_status, facts["kernel"])
    state = status.status.name
    if states[name] != state:
        print(f"{name}: {state.lower()} at {time.strftime('%H:%M')}", flush=True)
        states[name] = state
    if state in FAILED:
        # The next push continues from its checkpoint; without one that of an earlier kernel counts.
        files = call_with_retry(api.kernels_list_files, facts["kernel"], page_size=200).files
        if bundle.checkpoint_path(Path(), name).name in {Path(file.name).name for file in files}:
            _write_note(CUT, name, {"kernel": facts["kernel"], "part": facts["part"], "after": ""})
        _write_note(PUSHED, name, {})
        again = "; push it again to continue" if _read_note(CUT, name) else ""
        reason = status.failure_message or state.lower()
        raise UserError(f"failed on Kaggle ({reason}): {_error_line(name, facts)}{again}")
    if state == "COMPLETE":
        ours = rf"^(push\.json|models/(folds_.*\.csv|{name}\..*))$"
        output = kernel_dir(name) / "output"
        call_with_retry(api.kernels_output, facts["kernel"], str(output), ours, True)
        _install(variant, facts, output)
    return state == "COMPLETE"


def _error_line(name: str, facts: Mapping[str, Any]) -> str:
    """The last line of a kernel's log with an error, else its last line; and where the log is."""
    path, online = kernel_dir(name) / "kernel.log", f"its log is at {facts['url']}"
    try:
        log = call_with_retry(client().kernels_logs, facts["kernel"])
    except UserError:
        return online
    core.write_text(path, log)
    try:
        log = "".join(part["data"] for part in json.loads(log))
    except (ValueError, TypeError, KeyError):
        pass  # plain text
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines or ["its log is empty"]
    return f"{errors[-1][:200]}; {online} and in {path}"


def _install(variant: Variant, facts: dict[str, Any], output: Path) -> None:
    name, cut = variant.name, {}
    card = _checked(variant, output, facts["push"])
    lines = [bundle.holdout_line(card)]
    if is_cut(variant, card):
        after = f"after epoch {card['training']['epochs']} of {card['training']['planned']}"
        cut = {"kernel": facts["kernel"], "part": facts["part"], "after": after}
        lines.append(f"ended {after} for Kaggle's session; push it again to continue")
    if differ := versions.differing({k: v for k, v in card["versions"].items() if k != "python"}):
        lines.append(f"trained with {', '.join(differ)}")
    _write_note(CUT, name, cut)
    card |= {"variant": variant.recipe}  # the time limit was that of Kaggle's session
    if not card["commit"]:
        card |= {"commit": facts["commit"], "dirty": facts["dirty"]}
    bundle.put(output / "models", core.models_dir(), card)
    _write_note(PUSHED, name, {})
    for line in lines:
        print(f"{name}: {line}", flush=True)


def _checked(variant: Variant, output: Path, push: str) -> dict[str, Any]:
    """The card of a fetched bundle; UserError unless every file is the one of this `push`."""
    models, again = output / "models", "run the same command again"
    try:
        made = json.loads((output / "push.json").read_text(encoding="utf-8"))["push"]
    except (OSError, ValueError, KeyError):
        made = ""
    if made != push:
        raise UserError(f"Kaggle's output is not that of this push yet; {again}")
    card = bundle.read_whole(models, variant.name)
    for split in bundle.splits(card):
        bundle.read_predictions(models, card, split)  # of Kaggle's test images; none may be here
    if card["variant"] != limited(variant).recipe:
        _write_note(PUSHED, variant.name, {})
        raise UserError("Kaggle trained another recipe, the row was changed since; push it again")
    return card


def _read_note(note: str, name: str) -> dict[str, Any]:
    path = Path(f"{kernel_dir(name)}{note}")
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write_note(note: str, name: str, facts: Mapping[str, Any]) -> None:
    """Without `facts` the note is removed."""
    path = Path(f"{kernel_dir(name)}{note}")
    if facts:
        core.write_json(path, facts)
    else:
        path.unlink(missing_ok=True)
