"""Kaggle's kernels, as tests/kaggle_stand_in.py answers for them: one function a call."""

import hashlib
import json
import re
from importlib.metadata import version

import numpy as np
import pandas as pd

from src import bundle
from src.core import load_variants
from src.evidence import write_probs
from src.kaggle_api import kernel

STORAGE = "http://storage.stand-in"
ONE, TWO = "vit_small_squish_224", "vit_small_crop_224"


def SaveKernel(kaggle, body):
    """A new version, which leaves what `kaggle.run_kernel` returns."""
    slug, limit = body["slug"], kaggle.session_limit
    busy = [k for k in kaggle.kernels.values() if k["states"][0] in ("QUEUED", "RUNNING")]
    if len(busy) >= limit:
        return {"error": f"Maximum batch GPU session count of {limit} reached."}
    others = kaggle.kernels.keys() - {slug}  # no kernel is attached to itself
    invalid = [source for source in body.get("kernelDataSources", []) if source not in others]
    version = kaggle.kernels.get(slug, {}).get("version", 0) + 1
    files = kaggle.run_kernel(body)
    kaggle.kernels[slug] = {"states": list(kaggle.kernel_states), "files": files}
    kaggle.kernels[slug]["version"] = version
    return {"ref": f"/code/{slug}", "url": f"https://www.kaggle.com/code/{slug}",
            "versionNumber": version, "invalidKernelSources": invalid}


def GetKernelSessionStatus(kaggle, body):
    """The next of the kernel's states; it stays in the last."""
    states = kaggle.kernels[_slug(body)]["states"]
    state = states.pop(0) if len(states) > 1 else states[0]
    failure = {"failureMessage": "Your notebook hit an error"} if state == "ERROR" else {}
    return {"status": state} | failure


def ListKernelSessionOutput(kaggle, body):
    """The files of the output with their addresses, and the log."""
    slug = _slug(body)
    url = f"{STORAGE}/output?kernel={slug}&file="
    listed = [{"fileName": n, "url": f"{url}{n}"} for n in kaggle.kernels[slug]["files"]]
    log = [{"data": "a warning\nRuntimeError: out of"}, {"data": " memory\nthe last line\n"}]
    return {"files": listed, "log": json.dumps(log)}


def ListKernelFiles(kaggle, body):
    """The names of the files of the output."""
    return {"files": [{"name": name} for name in kaggle.kernels[_slug(body)]["files"]]}


def _slug(body):
    return f"{body['userName']}/{body['kernelSlug']}"


def trained(home, request, **facts):
    """What a kernel leaves: a bundle with its probabilities, and the number of its push."""
    text = request["text"]
    name = ONE if ONE.replace("_", "-") in request["slug"] else TWO
    push = re.search(r'push\\": \\"([0-9a-f]{32})', text)[1]
    pkl = b"a model's bytes"
    recipe = kernel.limited(load_variants()[name]).recipe
    card = {"name": name, "variant": recipe, "notebook": "paddy_train"}
    card |= {"family": "vit", "classes": ["a", "b"], "data": "0" * 64, "commit": "", "dirty": True}
    card |= {"held_out": "1" * 64, "holdout": {"images": 4, "wrong_plain": 1, "wrong_tta": 1}}
    card |= {"versions": {"python": "3.12.1", "torch": "2.6.0+cu124", "timm": version("timm")}}
    card |= {"bytes": len(pkl), "sha256": hashlib.sha256(pkl).hexdigest()} | facts
    files = {"push.json": json.dumps({"push": push}).encode(), f"models/{name}.pkl": pkl}
    table = pd.DataFrame(np.full((4, 2), 0.5, np.float32), list("wxyz"), ["a", "b"])
    for split in ("valid", "test"):
        path = home / f"{split}.parquet"
        write_probs(path, table.rename_axis("image_id"), None,
                    bundle.expected_meta(card, split, "1" * 64))
        files[f"models/{name}.{split}.parquet"] = path.read_bytes()
    return files | {f"models/{name}.json": json.dumps(card).encode(), "notes.txt": b"not ours"}
