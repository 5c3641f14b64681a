"""A tiny competition and one trained bundle, made once and copied where a test changes them."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.core import UserError, config, load_params

ROOT = Path(__file__).resolve().parent.parent
TRAIN = ROOT / "notebooks" / "paddy_train.ipynb"
TINY = {  # learns enough to tell the classes apart: one that does not is refused by the guard
    "arch": "test_resnet",
    "item_size": 48,
    "size": 32,
    "epochs": 3,
    "lr": 0.02,
    "bs": 8,
    "pretrained": False,
    "views": 2,
    "label_smoothing": 0.1,  # a model too sure predicts all views alike
}

# A worker takes the next file when it is through with one: long ones last would keep it alone.
LONGEST_FIRST = (
    "test_readme", "test_cluster", "test_nodes", "test_whole_sweep", "test_work", "test_executed",
    "test_executed_ensemble", "test_explore", "test_race", "test_pipeline", "test_gpu_check",
    "test_demo", "test_bad_input", "test_checkpoint", "test_plan", "test_finder", "test_augment",
    "test_compare", "test_push", "test_export", "test_precompute", "test_whole_loop", "test_submit",
    "test_search", "test_cards", "test_fold_all", "test_download", "test_targets",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def draw_competition(folder: Path, classes: int = 3, each: int = 10, test: int = 9) -> Path:
    """A competition in Kaggle's layout: every class is a stripe of its own colour in noise."""
    rng = np.random.default_rng(7)
    colours = rng.permutation(np.eye(3, dtype=int)[np.arange(classes) % 3] * 120)
    rows, answers = [], []
    for number in range(classes * each + test):
        label = f"disease_{'abcdefghij'[number % classes]}"
        pixels = rng.integers(0, 120, (64, 48, 3)) + colours[number % classes]
        training = number < classes * each
        name = f"{100001 + number if training else 200001 + number - classes * each}.jpg"
        path = folder / ("train_images/" + label if training else "test_images") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)
        (rows if training else answers).append((name, label, "ADT45", 45 + number % 3))
    columns = ["image_id", "label", "variety", "age"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "train.csv", index=False)
    answers = pd.DataFrame(answers, columns=columns)[["image_id", "label"]]
    answers.to_csv(folder / "solution.csv", index=False)
    answers.assign(label="").to_csv(folder / "sample_submission.csv", index=False)
    return folder


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """A command as a user types it, from the repository's root."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=inherited | environment,
        capture_output=True, text=True, timeout=600,
    )


def train_notebook(
    data: Path, work: Path, template: Path = TRAIN, **parameters: object
) -> subprocess.CompletedProcess:
    """The real training notebook, or a copy, through the real papermill, on tiny settings."""
    words = [w for k, v in (TINY | parameters).items() for w in ("-p", k, str(v))]
    copy = work / "executed.ipynb"
    copy.parent.mkdir(parents=True, exist_ok=True)
    return run("-m", "papermill", str(template), str(copy), *words,
               PADDY_DATA=str(data), PADDY_WORK=str(work))


def cells(path: Path, kind: str) -> list:
    """The cells of a notebook that are of one `kind`, code or markdown."""
    import nbformat

    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == kind]


def bundle_files(work: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file of the models folder."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in (work / "models").iterdir()}


def refusal(function: Callable[..., object], *arguments: object, **named: object) -> str:
    """The one line `function` refuses its arguments with."""
    with pytest.raises(UserError) as error:
        function(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Call it with a name and what fills the folder of that name, which all workers share.

    The first worker that asks fills it; the others wait until it is complete.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        folder, part = shared / name, shared / f"{name}.part"
        with open(shared / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                fill(part)
                part.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def competition_once(made_once) -> Path:
    return made_once("competition", draw_competition)


@pytest.fixture(scope="session")
def trained_once(made_once, competition_once) -> Path:
    """A work folder with two finished models, test_resnet and test_vit."""

    def train(work: Path) -> None:
        for parameters in ({}, {"arch": "test_vit"}):
            done = train_notebook(competition_once, work, **parameters)
            assert done.returncode == 0, done.stderr[-3000:]

    return made_once("trained", train)


@pytest.fixture
def in_this_process(monkeypatch):
    """No loader processes, one thread, float32: tiny models, results to the last digit."""
    import torch

    from src.vision import loaders as data

    monkeypatch.setattr(data, "workers", lambda: 0)
    monkeypatch.setattr("src.training.precision.computes_bf16", lambda: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def data(competition_once, tmp_path, monkeypatch) -> Path:
    """A tiny competition of the test's own, named by PADDY_DATA."""
    folder = shutil.copytree(competition_once, tmp_path / "competition")
    monkeypatch.setenv("PADDY_DATA", str(folder))
    return folder


@pytest.fixture
def work(trained_once, tmp_path, monkeypatch) -> Path:
    """A work folder of the test's own with two finished models, named by PADDY_WORK."""
    folder = shutil.copytree(trained_once, tmp_path / "work")
    monkeypatch.setenv("PADDY_WORK", str(folder))
    return folder


@pytest.fixture(scope="session")
def predicted_once(made_once, trained_once, competition_once) -> Path:
    """A work folder whose two models have predicted the test set."""
    from small_bundles import predicted

    return made_once("predicted", lambda work: predicted(trained_once, competition_once, work))


@pytest.fixture
def predicted(predicted_once, data, tmp_path, monkeypatch) -> Path:
    """A models folder of the test's own, in it two models that have predicted the test set."""
    work = shutil.copytree(predicted_once, tmp_path / "predicted")
    monkeypatch.setenv("PADDY_WORK", str(work))
    return work / "models"


@pytest.fixture
def models(data, tmp_path, monkeypatch) -> Path:
    """An empty models folder in a work folder of the test's own."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return tmp_path / "work" / "models"


@pytest.fixture
def family(models, data) -> Path:
    """Two ViTs and a ResNet, made by hand, that disagree about the test images."""
    from small_bundles import three_in

    three_in(models, data)
    return models


@pytest.fixture(scope="session")
def sixty_once(made_once) -> Path:
    """A competition of 60 training images, enough for a search."""
    return made_once("sixty", lambda folder: draw_competition(folder, each=20))


@pytest.fixture
def sixty(sixty_once, tmp_path, monkeypatch) -> Path:
    """An empty models folder for models of that competition, named by PADDY_DATA."""
    monkeypatch.setenv("PADDY_DATA", str(sixty_once))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return tmp_path / "work" / "models"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The tables of a competition of 400 images, with the work folder beside them."""
    from tests.small_submissions import competition_in

    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return competition_in(tmp_path / "data")


@pytest.fixture
def kaggle(tmp_path):
    """Kaggle with a small competition."""
    from tests.kaggle_user import stand_in

    with stand_in(tmp_path) as server:
        yield server


@pytest.fixture
def own_params(tmp_path, monkeypatch):
    """A params.yaml of the test's own; call it with the text."""
    monkeypatch.setattr(config, "ROOT", tmp_path)
    load_params.cache_clear()
    yield lambda text: (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    load_params.cache_clear()
