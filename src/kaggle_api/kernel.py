"""The kernel that trains a variant on Kaggle's GPU: a folder for the official client to push.

Kaggle takes one file a kernel: the package is a zip in the first cell of the training notebook.
A session that Kaggle stops may lose its output, so a long training ends in time. A new kernel with
that output attached continues it: users report that Kaggle attaches no kernel's output to itself.
"""

import base64
import io
import re
import shutil
import uuid
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from src import core
from src.bundle import checkpoint_path
from src.competition import file_of, mounts
from src.core import ROOT, UserError, Variant

TEMPLATE = "paddy_train"
GPU = "NvidiaTeslaT4"  # the torch of Kaggle's image has no code for the older P100
# Minutes. A session has 12 hours (https://www.kaggle.com/docs/notebooks, technical
# specifications); the last one is for the test images and for Kaggle to store the output.
TIME_LIMIT = 11 * 60

UNPACK = '''\
# The package this notebook calls, of commit {commit}.
import base64, io, json, os, shutil, sys, tempfile, zipfile
from pathlib import Path

PACKAGE = "{package}"
root = Path(tempfile.mkdtemp(prefix="paddy_"))
zipfile.ZipFile(io.BytesIO(base64.b64decode(PACKAGE))).extractall(root)
shutil.copytree(root / "models", "models", dirs_exist_ok=True)
sys.path.insert(0, str(root))
os.environ["PADDY_WORK"] = str(root)
Path("push.json").write_text(json.dumps({{"push": "{push}"}}), encoding="utf-8")
'''
CONTINUE = """\
# The checkpoint that an earlier kernel of this training has left.
from src.kaggle_api.kernel import fetch_checkpoint

fetch_checkpoint("{kernel}", "{name}")
"""
PREDICT = """\
# The test images too, while there is a GPU: at home this may take hours.
from src.predict import predict_bundles

predict_bundles({variant.name: {}}, run.models, data)
"""


def limited(variant: Variant) -> Variant:
    """`variant` with a time limit that lets it end before Kaggle's session does."""
    return replace(variant, time_limit=min(variant.time_limit or TIME_LIMIT, TIME_LIMIT))


def kernel_dir(name: str) -> Path:
    """Where the kernel of variant `name` is built."""
    return core.runs_dir() / "kaggle" / name


def fetch_checkpoint(kernel: str, name: str) -> None:
    """In a kernel: copy the checkpoint of the attached `kernel` to where training expects it."""
    path = checkpoint_path(Path("models"), name)
    attached = mounts.resolve(mounts.KAGGLE_INPUT / "notebooks" / kernel / path)
    if attached.is_file():
        shutil.copyfile(attached, path)
    else:
        print(f"no checkpoint at {attached}; training starts over", file=core.terminal())


def build(
    variant: Variant, owner: str, datasets: list[str], internet: bool | None, cut: Mapping[str, Any]
) -> dict[str, Any]:
    """Write notebook and kernel-metadata.json, which continue the training of `cut`; what to note.

    `internet` None: only where weights must be fetched.
    """
    folder, part = kernel_dir(variant.name), cut.get("part", 0) + 1
    title = _title(variant.name, part)
    slug = f"{owner}/{re.sub('[^a-z0-9]+', '-', title.lower())}"
    push = {"push": uuid.uuid4().hex, "kernel": slug, "part": part, **core.commit()}
    text = _notebook(variant, push, cut)
    shutil.rmtree(folder, ignore_errors=True)
    facts = _metadata(variant, datasets, internet)
    facts |= {"id": slug, "title": title, "kernel_sources": [cut["kernel"]] if cut else []}
    core.write_json(folder / "kernel-metadata.json", facts)
    core.write_text(folder / f"{TEMPLATE}.ipynb", text)
    return push


def _title(name: str, part: int) -> str:
    """A kernel's title, of which Kaggle makes its address: at most 50 characters."""
    name += f" part {part}" if part > 1 else ""
    title = f"paddy {name}".replace("_", " ")
    digest = sha256(name.encode()).hexdigest()
    return title if len(title) <= 50 else f"{title[:41].rstrip()} {digest[:8]}"


def _notebook(variant: Variant, push: dict[str, Any], cut: Mapping[str, Any]) -> str:
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(ROOT / "notebooks" / f"{TEMPLATE}.ipynb"))
    parameters = {**limited(variant).recipe, "notebook": TEMPLATE, "models": "models"}
    notebook = parameterize_notebook(notebook, parameters)
    for cell in notebook.cells:
        # Kaggle runs it with papermill too, which would put its parameters in place of ours.
        cell.metadata.pop("tags", None)
    commit = push["commit"] or "unknown"
    before = [UNPACK.format(package=package(variant), commit=commit, push=push["push"])]
    if cut:
        before.append(CONTINUE.format(kernel=cut["kernel"], name=variant.name))
    code = nbformat.v4.new_code_cell
    notebook.cells = [*map(code, before), *notebook.cells, code(PREDICT)]
    return nbformat.writes(notebook)


def package(variant: Variant) -> str:
    """src/, params.yaml, the saved split and the corrections as a zip in base64."""
    sent = [*sorted((ROOT / "src").rglob("*.py")), ROOT / "params.yaml"]
    for name in filter(None, (variant.exclude, variant.relabel)):
        path = file_of(name)
        if not path.is_relative_to(ROOT) or not path.is_file():
            raise UserError(f"{name} is no file below {ROOT}, all that is sent to Kaggle; move it")
        sent.append(path)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sent:
            archive.write(path, path.relative_to(ROOT))
        archive.mkdir("models")
        for path in sorted(core.models_dir().glob(f"folds_*_seed{variant.seed}.csv")):
            archive.write(path, f"models/{path.name}")
    return base64.b64encode(content.getvalue()).decode()


def _metadata(variant: Variant, datasets: list[str], internet: bool | None) -> dict[str, Any]:
    fetches = variant.pretrained is True
    if fetches and internet is False:
        raise UserError(f"{variant.name} fetches its weights; leave out --no-internet, or attach "
                        "them with --dataset and set pretrained to their path")
    return {
        "code_file": f"{TEMPLATE}.ipynb", "language": "python", "kernel_type": "notebook",
        "is_private": True, "enable_gpu": True, "machine_shape": GPU,
        "enable_internet": fetches if internet is None else internet,
        "competition_sources": [core.load_facts().slug], "dataset_sources": datasets,
        "model_sources": _models(variant, datasets),
    }  # fmt: skip


def _models(variant: Variant, datasets: list[str]) -> list[str]:
    """The model to attach for `pretrained`; UserError if nothing attached holds the file."""
    if not isinstance(variant.pretrained, str):
        return []
    below = mounts.parts(variant.pretrained)
    if below[:1] == ("models",) and len(below) > 6:
        return ["/".join(below[1:6])]
    for owner, name in (dataset.split("/")[:2] for dataset in datasets):
        if below[:1] == (name,) or below[:3] == ("datasets", owner, name):
            return []
    raise UserError(
        f"{variant.name}: pretrained={variant.pretrained} is in no attached data set; add "
        f"--dataset OWNER/NAME and write it as {mounts.KAGGLE_INPUT}/datasets/OWNER/NAME/FILE, or "
        "as a model, /kaggle/input/models/OWNER/NAME/FRAMEWORK/VARIATION/VERSION/FILE"
    )
