"""The kernel that trains a variant on Kaggle's GPU: a folder for the official client to push.

Kaggle takes one file a kernel, so the package travels inside the notebook, as a zip in its first
cell; `notebooks/paddy_train.ipynb` itself goes unchanged, with the variant as its parameters.
Kaggle keeps what the kernel leaves in its current folder: the bundle, and the checkpoint of an
unfinished training. Everything else, such as shrunken copies, goes to a temporary folder.
"""

import base64
import io
import json
import re
import shutil
import uuid
import zipfile
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any, NamedTuple

from src.competition import COMPETITION, file_of, mounts
from src.core import ROOT, UserError, Variant, commit, models_dir, runs_dir, write_json, write_text
from src.kaggle_api.session import Cut, limited

TEMPLATE = "paddy_train"
GPU = "NvidiaTeslaT4"  # the torch of Kaggle's image has no code for the older P100
PUSHED = "pushed.json"  # beside the kernel while it runs on Kaggle
SOURCE_LIMIT = 1_000_000  # bytes of source Kaggle takes for one kernel

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
from src.kaggle_api.session import fetch_checkpoint

fetch_checkpoint("{kernel}", "{name}")
"""
PREDICT = """\
# The test images too, while there is a GPU: at home this may take hours.
from src.predict import predict_bundles

predict_bundles({variant.name: {}}, run.models, data)
"""


class Asked(NamedTuple):
    """What the user wants beside the variants."""

    datasets: list[str]  # OWNER/NAME, to be attached
    internet: bool | None  # None: only where weights must be fetched
    every: float  # seconds between two looks


def folder_of(variant: Variant) -> Path:
    """Where the kernel of `variant` is built, and remembered while it runs."""
    return runs_dir() / "kaggle" / variant.name


def build(variant: Variant, asked: Asked, owner: str, cut: Cut | None = None) -> dict[str, Any]:
    """Write notebook and kernel-metadata.json; return what is to be remembered of this push.

    The kernel continues the training of `cut`.
    """
    folder, part = folder_of(variant), cut.part + 1 if cut else 1
    title = _title(variant.name, part)
    slug = f"{owner}/{re.sub('[^a-z0-9]+', '-', title.lower())}"
    push = {"push": uuid.uuid4().hex, "kernel": slug, "part": part, **commit()}
    text = _notebook(variant, push, cut)
    if len(text.encode()) > SOURCE_LIMIT:
        raise UserError(f"{variant.name}: {len(text):,} bytes of notebook, Kaggle takes 1 MB")
    shutil.rmtree(folder, ignore_errors=True)
    write_text(folder / f"{TEMPLATE}.ipynb", text)
    facts = {"id": slug, "title": title, "kernel_sources": [cut.kernel] if cut else []}
    write_json(folder / "kernel-metadata.json", facts | _metadata(variant, asked))
    return push


def pushed(folder: Path) -> dict[str, Any]:
    """What is remembered of the push of the kernel in `folder`, while it runs."""
    return json.loads((folder / PUSHED).read_text(encoding="utf-8"))


def _notebook(variant: Variant, push: dict[str, Any], cut: Cut | None) -> str:
    """The training notebook with its parameters, between unpacking and prediction."""
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(ROOT / "notebooks" / f"{TEMPLATE}.ipynb"))
    parameters = {**limited(variant).recipe, "notebook": TEMPLATE, "models": "models"}
    notebook = parameterize_notebook(notebook, parameters)
    for cell in notebook.cells:
        # Kaggle runs it with papermill too, which would put its parameters in place of ours.
        cell.metadata.pop("tags", None)
    facts = {"commit": push["commit"] or "unknown", "push": push["push"]}
    before = [UNPACK.format(package=package(variant), **facts)]
    if cut:
        before.append(CONTINUE.format(kernel=cut.kernel, name=variant.name))
    code = nbformat.v4.new_code_cell
    notebook.cells = [*map(code, before), *notebook.cells, code(PREDICT)]
    return nbformat.writes(notebook)


def package(variant: Variant) -> str:
    """src/, params.yaml, the saved split and the corrections as a zip in base64."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*sorted((ROOT / "src").rglob("*.py")), ROOT / "params.yaml"]:
            archive.write(path, path.relative_to(ROOT))
        archive.mkdir("models")
        for path in sorted(models_dir().glob(f"folds_*_seed{variant.seed}.csv")):
            archive.write(path, f"models/{path.name}")
        for path in map(_packed, filter(None, (variant.exclude, variant.relabel))):
            archive.write(path, path.relative_to(ROOT))
    return base64.b64encode(content.getvalue()).decode()


def _packed(name: str) -> Path:
    """The file `name` of a recipe, which Kaggle finds at the same place in the repository."""
    path = file_of(name)
    if not path.is_relative_to(ROOT) or not path.is_file():
        raise UserError(f"{name} is no file below {ROOT}, all that is sent to Kaggle; put it there")
    return path


def _metadata(variant: Variant, asked: Asked) -> dict[str, Any]:
    """kernel-metadata.json without its name: private, on a GPU, with the competition's data."""
    fetches = variant.pretrained is True
    if fetches and asked.internet is False:
        raise UserError(
            f"{variant.name} fetches its weights from the internet; attach them with --dataset and "
            f"name the file in its row, pretrained: {mounts.KAGGLE_INPUT}/…, or leave out "
            "--no-internet"
        )
    return {
        "code_file": f"{TEMPLATE}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "machine_shape": GPU,
        "enable_internet": fetches if asked.internet is None else asked.internet,
        "competition_sources": [COMPETITION],
        "dataset_sources": asked.datasets,
        "model_sources": _models(variant, asked.datasets),
    }


def _models(variant: Variant, datasets: list[str]) -> list[str]:
    """The model to attach for `pretrained`; UserError if neither it nor a data set holds the file.

    A model's path says all of its name, OWNER/NAME/FRAMEWORK/VARIATION/VERSION.
    """
    if not isinstance(variant.pretrained, str):
        return []
    below = mounts.parts(variant.pretrained)
    if below[:1] == ("models",) and len(below) > 6:
        return ["/".join(below[1:6])]
    attached = [tuple(name.split("/")[:2]) for name in datasets]
    forms = {form for owner, name in attached for form in ((name,), ("datasets", owner, name))}
    if not any(below[: len(form)] == form for form in forms):
        raise UserError(
            f"{variant.name}: pretrained={variant.pretrained} is in no attached data set; attach "
            "the one that holds it with --dataset OWNER/NAME and write its path as "
            f"{mounts.KAGGLE_INPUT}/datasets/OWNER/NAME/FILE, or name a file of a model, "
            f"{mounts.KAGGLE_INPUT}/models/OWNER/NAME/FRAMEWORK/VARIATION/VERSION/FILE"
        )
    return []


def _title(name: str, part: int) -> str:
    """A kernel's title, of which Kaggle makes its address: at most 50 characters."""
    name += f" part {part}" if part > 1 else ""
    title = f"paddy {name}".replace("_", " ")
    digest = sha256_of(name.encode()).hexdigest()
    return title if len(title) <= 50 else f"{title[:41].rstrip()} {digest[:8]}"
