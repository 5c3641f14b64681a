"""The folder that trains a variant on Kaggle: its metadata, its notebook, what travels inside."""

import base64
import io
import json
import zipfile
from pathlib import Path

import nbformat
import pytest

from src.competition import corrections
from src.core import UserError, make_variant
from src.kaggle_api import kernel

INPUT = "/kaggle/input"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    (tmp_path / "work" / "models").mkdir(parents=True)
    return tmp_path / "work"


def metadata(variant, datasets=(), internet=None):
    kernel.build(variant, "someone", list(datasets), internet, {})
    return json.loads((kernel.kernel_dir(variant.name) / "kernel-metadata.json").read_text())


def test_a_kernel_is_private_on_a_gpu_and_has_the_competition():
    facts = metadata(make_variant(arch="vit_small"))
    assert facts["id"] == "someone/paddy-vit-small-squish-224"
    assert facts["is_private"] is facts["enable_gpu"] is facts["enable_internet"] is True
    assert facts["competition_sources"] == ["paddy-disease-classification"]
    assert facts["machine_shape"] == "NvidiaTeslaT4" and facts["model_sources"] == []


@pytest.mark.parametrize("place, names, models", [
    ("timm-weights", ["someone/timm-weights"], []),
    ("datasets/someone/timm-weights", ["someone/timm-weights/3"], []),
    ("models/timm/resnet/pytorch/resnet50/2", [], ["timm/resnet/pytorch/resnet50/2"]),
])  # fmt: skip
def test_attached_weights_need_no_internet(place, names, models):
    variant = make_variant(pretrained=f"{INPUT}/{place}/vit.safetensors")
    facts = metadata(variant, names)
    assert (facts["dataset_sources"], facts["model_sources"]) == (names, models)
    assert facts["enable_internet"] is False
    assert metadata(variant, names, internet=True)["enable_internet"] is True


@pytest.mark.parametrize("pretrained, internet, expected", [
    (f"{INPUT}/datasets/another/other/vit.safetensors", None, "--dataset OWNER/NAME"),
    (f"{INPUT}/models/resnet50/model.safetensors", None, "FRAMEWORK/VARIATION/VERSION/FILE"),
    ("/home/me/vit.safetensors", None, INPUT),
    (True, False, "--no-internet"),
])  # fmt: skip
def test_weights_that_nothing_attached_holds_are_refused(pretrained, internet, expected):
    with pytest.raises(UserError, match=expected):
        metadata(make_variant(pretrained=pretrained), ["someone/other"], internet)


def test_a_long_name_still_gives_a_title_kaggle_takes():
    long = {"arch": "swinv2_large_window12to16_192to256.ms_in22k_ft_in1k", "size": 256}
    first, second = (metadata(make_variant(**long, fold=fold)) for fold in (1, 2))
    assert len(first["title"]) <= 50 and first["id"] != second["id"]
    assert first["id"] == "someone/" + first["title"].replace(" ", "-")


def test_the_training_notebook_travels_unchanged_with_its_parameters_set():
    variant = make_variant(arch="vit_small", epochs=3)
    metadata(variant)
    pushed = nbformat.read(kernel.kernel_dir(variant.name) / "paddy_train.ipynb", 4)
    cells = pushed.cells
    original = nbformat.read(Path("notebooks/paddy_train.ipynb"), 4).cells
    sources = [cell.source for cell in cells]
    at = [sources.index(cell.source) for cell in original]
    assert at == sorted(at)
    (parameters,) = [s for s in sources if s.startswith("# Parameters")]
    assert len(cells) == len(original) + 3 and sources.index(parameters) == at[1] + 1
    given = {}
    exec(parameters, given)
    ends = make_variant(arch="vit_small", epochs=3, time_limit=kernel.TIME_LIMIT)
    assert ends == make_variant(**{k: given[k] for k in variant.recipe})
    assert given["notebook"] == "paddy_train"
    # Kaggle's own papermill finds no tag to put its parameters at.
    assert not any(cell.metadata.get("tags") for cell in cells)
    assert pushed.metadata.kernelspec.name == "python3"


def packed(variant):
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(kernel.package(variant))))


def test_the_package_holds_the_code_the_rows_and_the_saved_split(work):
    for seed in (42, 7):
        (work / "models" / f"folds_01234567_seed{seed}.csv").write_text("image_id,fold\n")
    names = packed(make_variant()).namelist()
    assert {"src/__init__.py", "src/training/fit.py", "params.yaml"} < set(names)
    assert [n for n in names if n.startswith("models/f")] == ["models/folds_01234567_seed42.csv"]


def test_corrections_travel_to_where_the_recipe_names_them(monkeypatch, tmp_path):
    for room in (kernel, corrections):
        monkeypatch.setattr(room, "ROOT", tmp_path)
    (tmp_path / "params.yaml").write_text("")
    (tmp_path / "wrong.csv").write_text("image_id,label\n")
    assert packed(make_variant(relabel="wrong.csv")).read("wrong.csv") == b"image_id,label\n"
    for path in ("none.csv", "/elsewhere/wrong.csv"):
        with pytest.raises(UserError, match=f"^{path} is no file below"):
            kernel.package(make_variant(exclude=path))


def test_without_the_checkpoint_that_was_to_be_attached_training_begins_anew(tmp_path, capsys):
    kernel.fetch_checkpoint("someone/paddy", "vit")
    assert "training starts over" in capsys.readouterr().err
