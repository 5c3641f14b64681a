"""The kernel that trains a variant on Kaggle's GPU: a folder for the official client to push.

Kaggle takes one file a kernel, so the package travels inside the notebook, as a zip in its first
cell; `notebooks/paddy_train.ipynb` itself goes unchanged, with the variant as its parameters.
"""

import base64
import io
import re
import shutil
import uuid
import zipfile
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import Any, NamedTuple

from src import mounts
from src.competition import COMPETITION
from src.config import ROOT, UserError, models_dir, runs_dir
from src.files import commit, write_json, write_text
from src.labels import file_of
from src.variant import Variant

TEMPLATE = "paddy_train"
GPU = "NvidiaTeslaT4"  # the torch of Kaggle's image has no code for the older P100
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
os.environ["PADDY_WORK"] = os.getcwd()
Path("push.json").write_text(json.dumps({{"push": "{push}"}}), encoding="utf-8")
'''
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


def build(variant: Variant, asked: Asked, owner: str) -> dict[str, str]:
    """Write notebook and kernel-metadata.json; return what a bundle of this push must carry."""
    folder, push = folder_of(variant), {"push": uuid.uuid4().hex, **commit()}
    text = _notebook(variant, push)
    if len(text.encode()) > SOURCE_LIMIT:
        raise UserError(f"{variant.name}: {len(text):,} bytes of notebook, Kaggle takes 1 MB")
    shutil.rmtree(folder, ignore_errors=True)
    write_text(folder / f"{TEMPLATE}.ipynb", text)
    write_json(folder / "kernel-metadata.json", _metadata(variant, asked, owner))
    return push


def _notebook(variant: Variant, push: dict[str, Any]) -> str:
    """The training notebook with its parameters, between unpacking and prediction."""
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(ROOT / "notebooks" / f"{TEMPLATE}.ipynb"))
    notebook = parameterize_notebook(notebook, {**variant.recipe, "notebook": TEMPLATE})
    for cell in notebook.cells:
        # Kaggle runs it with papermill too, which would put its parameters in place of ours.
        cell.metadata.pop("tags", None)
    facts = {"commit": push["commit"] or "unknown", "push": push["push"]}
    first = UNPACK.format(package=package(variant), **facts)
    code = nbformat.v4.new_code_cell
    notebook.cells = [code(first), *notebook.cells, code(PREDICT)]
    return nbformat.writes(notebook)


def package(variant: Variant) -> str:
    """src/, params.yaml, the saved split and the corrections as a zip in base64."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*sorted((ROOT / "src").glob("*.py")), ROOT / "params.yaml"]:
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


def _metadata(variant: Variant, asked: Asked, owner: str) -> dict[str, Any]:
    """kernel-metadata.json: private, on a GPU, with the competition's data."""
    fetches = variant.pretrained is True
    if fetches and asked.internet is False:
        raise UserError(
            f"{variant.name} fetches its weights from the internet; attach them with --dataset and "
            f"name the file in its row, pretrained: {mounts.KAGGLE_INPUT}/…, or leave out "
            "--no-internet"
        )
    slugs = [name.split("/")[-1] for name in asked.datasets]
    path = variant.pretrained if isinstance(variant.pretrained, str) else ""
    if path and not any(mounts.parts(path) and f"/{s}/" in path for s in slugs):
        raise UserError(
            f"{variant.name}: pretrained={path} is in no attached data set; attach the one that "
            "holds it with --dataset OWNER/NAME and write its path as "
            f"{mounts.KAGGLE_INPUT}/NAME/FILE"
        )
    title = _title(variant.name)
    return {
        "id": f"{owner}/{re.sub('[^a-z0-9]+', '-', title.lower())}",
        "title": title,
        "code_file": f"{TEMPLATE}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "machine_shape": GPU,
        "enable_internet": fetches if asked.internet is None else asked.internet,
        "competition_sources": [COMPETITION],
        "dataset_sources": asked.datasets,
    }


def _title(name: str) -> str:
    """A kernel's title, of which Kaggle makes its address: at most 50 characters."""
    title = f"paddy {name}".replace("_", " ")
    digest = sha256_of(name.encode()).hexdigest()
    return title if len(title) <= 50 else f"{title[:41].rstrip()} {digest[:8]}"
