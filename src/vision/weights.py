"""Where the weights of a Variant come from: a file, the cache of earlier downloads, or the hub."""

from contextlib import redirect_stderr, suppress
from pathlib import Path
from textwrap import shorten
from threading import Thread
from typing import Any, NamedTuple

import torch
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub import try_to_load_from_cache as cached_path
from huggingface_hub.errors import EntryNotFoundError
from timm.models import load_state_dict
from timm.models._hub import hf_split

from src.competition import mounts
from src.core import UserError, Variant, terminal
from src.vision.backbone import pretrained_cfg, timm_name

FILES = ("model.safetensors", "pytorch_model.bin")  # of a repository, in the order timm takes them
# Seconds for the hub to answer. Its client has a time limit for each address and none for the
# name server: without a network that adds up to minutes.
PATIENCE = 8
RETRY = "connect to the network or try again later, "


class Weights(NamedTuple):
    """The weights a training starts from."""

    source: str  # random, file, cache or hub
    file: Path | None  # None if random, or not downloaded yet


def find(variant: Variant) -> Weights:
    """The weights of `variant`, nothing downloaded yet; UserError if they cannot be had.

    Only what is in no cache needs the network: one request, to see that the hub answers.
    """
    if not variant.pretrained:
        return Weights("random", None)
    if isinstance(variant.pretrained, str):
        file = mounts.resolve(Path(variant.pretrained).expanduser()).resolve()
        if not file.is_file():
            remedy = "write true (download), false (random weights) or the path of a file"
            raise UserError(f"pretrained={variant.pretrained!r}: no such weights file", remedy)
        return Weights("file", file)
    repo = _repository(variant)
    for name in FILES:
        if isinstance(path := cached_path(**repo, filename=name), str):
            return Weights("cache", Path(path))
    if error := _request_error(repo):
        raise _refusal(variant, constants.ENDPOINT, error, RETRY)
    return Weights("hub", None)


def fetch(variant: Variant) -> Weights:
    """The same with the file in place, downloaded if need be: its progress is on the terminal."""
    found = find(variant)
    if found.source != "hub":
        return found
    try:
        with redirect_stderr(terminal()):
            return Weights("hub", _download(_repository(variant)))
    except Exception as error:  # of the network, the disk or the hub: each has its own
        raise _refusal(variant, constants.ENDPOINT, error, RETRY) from error


def _repository(variant: Variant) -> dict[str, Any]:
    cfg = pretrained_cfg(variant.arch)
    if not cfg.hf_hub_id:
        where = f"they are at {cfg.url}" if cfg.url else "timm has none for this architecture"
        raise _refusal(variant, constants.ENDPOINT, where)
    repo, revision = hf_split(cfg.hf_hub_id)
    return {"repo_id": repo, "revision": revision}


def _download(repo: dict[str, Any]) -> Path:
    try:
        return Path(hf_hub_download(**repo, filename=FILES[0]))
    except EntryNotFoundError:
        return Path(hf_hub_download(**repo, filename=FILES[1]))


def _request_error(repo: dict[str, Any]) -> Exception | None:
    """Why the hub does not answer about a repository; None if it does."""
    errors: list[Exception] = [TimeoutError(f"no answer within {PATIENCE} s")]

    def request() -> None:
        """One request; `errors` has what it fails with, else nothing."""
        try:
            with suppress(EntryNotFoundError):  # it answers, and may have the other of FILES
                get_hf_file_metadata(hf_hub_url(**repo, filename=FILES[0]), timeout=PATIENCE)
            errors.clear()
        except Exception as error:  # each kind of network fails in its own way
            errors[0] = error

    thread = Thread(target=request, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return errors[0] if errors else None


def unusable(variant: Variant, weights: Weights, error: Exception) -> UserError:
    """The one line for a file of weights that cannot be read or does not fit."""
    remedy = "" if weights.source == "file" else "delete it, "
    return _refusal(variant, weights.file, error, remedy)


def _refusal(variant: Variant, place: Any, reason: Any, remedy: str = "") -> UserError:
    lines = str(reason).splitlines() or [type(reason).__name__]
    return UserError(
        f"no weights for {timm_name(variant.arch)} from {place} "
        f"({shorten(lines[0], 240, placeholder=' …')}); {remedy}give a file with -p pretrained "
        "PATH (in a row: pretrained: PATH), or take random weights: -p pretrained false"
    )


def require_loaded(body: torch.nn.Module, weights: Weights) -> None:
    """Refuse a file of another architecture: timm skips what does not fit, silently."""
    if weights.source != "file":
        return
    tensors = [t for t in load_state_dict(weights.file).values() if hasattr(t, "shape")]
    known = {(t.shape, t.float().sum().item()) for t in tensors}
    parameters = [p for p in body.parameters() if p.ndim > 1]
    found = sum((p.shape, p.sum().item()) in known for p in parameters)
    if found < len(parameters) / 2:
        raise ValueError(f"only {found} of {len(parameters)} weights of the file fit")


def forget_file(body: torch.nn.Module, variant: Variant) -> None:
    """Leave timm's own record of the weights in the model, no path of this machine."""
    record = body.model.pretrained_cfg
    record.pop("file", None)
    record["custom_load"] = pretrained_cfg(variant.arch).custom_load
