"""The folder that trains a variant on Kaggle: its metadata, its notebook, what travels inside."""

import base64
import io
import json
import os
import zipfile
from pathlib import Path

import nbformat
import pytest

from src.competition import corrections as labels
from src.core import UserError, make_variant
from src.kaggle_api import kernel

ATTACHED = {"pretrained": "/kaggle/input/timm-weights/vit.safetensors"}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    return tmp_path


def metadata(variant, datasets=(), internet=None) -> dict:
    kernel.build(variant, "someone", list(datasets), internet, {})
    return json.loads((kernel.kernels_dir() / variant.name / "kernel-metadata.json").read_text())


def notebook(variant) -> nbformat.NotebookNode:
    metadata(variant)
    return nbformat.read(kernel.kernels_dir() / variant.name / "paddy_train.ipynb", 4)


def test_a_kernel_is_private_on_a_gpu_and_has_the_competition():
    facts = metadata(make_variant(arch="vit_small"))
    assert facts["id"] == "someone/paddy-vit-small-squish-224"
    assert facts["is_private"] is facts["enable_gpu"] is facts["enable_internet"] is True
    assert facts["competition_sources"] == ["paddy-disease-classification"]
    assert facts["machine_shape"] == "NvidiaTeslaT4"


def test_attached_weights_need_no_internet():
    variant = make_variant(arch="vit_small", **ATTACHED)
    facts = metadata(variant, ["someone/timm-weights"])
    assert facts["enable_internet"] is False
    assert facts["dataset_sources"] == ["someone/timm-weights"]
    assert metadata(variant, ["someone/timm-weights"], internet=True)["enable_internet"] is True


def test_weights_of_a_data_set_may_be_named_in_both_forms_but_not_of_another_owner():
    owned = make_variant(pretrained="/kaggle/input/datasets/someone/timm-weights/vit.safetensors")
    for name in ("someone/timm-weights", "someone/timm-weights/3"):
        assert metadata(owned, [name])["dataset_sources"] == [name]
        assert metadata(make_variant(**ATTACHED), [name])["dataset_sources"] == [name]
    with pytest.raises(UserError, match="datasets/OWNER/NAME/FILE"):
        metadata(owned, ["another/timm-weights"])


def test_weights_of_a_model_attach_the_model_that_their_path_names():
    model = "timm/resnet/pytorch/resnet50/2"
    variant = make_variant(pretrained=f"/kaggle/input/models/{model}/model.safetensors")
    assert metadata(variant)["model_sources"] == [model]
    assert metadata(variant)["enable_internet"] is False
    assert metadata(make_variant())["model_sources"] == []
    with pytest.raises(UserError, match="FRAMEWORK/VARIATION/VERSION/FILE"):
        metadata(make_variant(pretrained="/kaggle/input/models/resnet50/model.safetensors"))


def test_weights_that_no_attached_data_set_holds_are_refused():
    with pytest.raises(UserError, match="--dataset"):
        metadata(make_variant(arch="vit_small", **ATTACHED), ["someone/other"])
    with pytest.raises(UserError, match="/kaggle/input"):
        metadata(make_variant(arch="vit_small", pretrained="/home/me/vit.safetensors"))
    with pytest.raises(UserError, match="internet"):
        metadata(make_variant(arch="vit_small"), internet=False)


def test_a_long_name_still_gives_a_title_kaggle_takes():
    long = {"arch": "swinv2_large_window12to16_192to256.ms_in22k_ft_in1k", "size": 256}
    first, second = (metadata(make_variant(**long, fold=fold)) for fold in (1, 2))
    assert len(first["title"]) <= 50 and first["id"] != second["id"]
    assert first["id"] == "someone/" + first["title"].replace(" ", "-")


def test_the_training_notebook_travels_unchanged_with_its_parameters_set():
    variant = make_variant(arch="vit_small", epochs=3)
    cells = notebook(variant).cells
    original = nbformat.read(Path("notebooks/paddy_train.ipynb"), 4).cells
    sources = [cell.source for cell in cells]
    at = [sources.index(cell.source) for cell in original]
    assert at == sorted(at)
    (parameters,) = [s for s in sources if s.startswith("# Parameters")]
    assert len(cells) == len(original) + 3 and sources.index(parameters) == at[1] + 1
    given: dict = {}
    exec(parameters, given)
    ends = make_variant(arch="vit_small", epochs=3, time_limit=kernel.TIME_LIMIT)
    assert ends == make_variant(**{k: given[k] for k in variant.recipe})
    assert given["notebook"] == "paddy_train"


def test_kaggles_own_papermill_finds_no_tag_to_put_its_parameters_at():
    assert not any(cell.metadata.get("tags") for cell in notebook(make_variant()).cells)
    assert notebook(make_variant()).metadata.kernelspec.name == "python3"


def packed(variant) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(kernel.package(variant))))


def test_the_package_holds_the_code_the_rows_and_the_saved_split(work):
    (work / "models").mkdir()
    (work / "models" / "folds_01234567_seed42.csv").write_text("image_id,fold\n")
    (work / "models" / "folds_01234567_seed7.csv").write_text("image_id,fold\n")
    names = packed(make_variant()).namelist()
    assert {"src/__init__.py", "src/training/fit.py", "params.yaml"} < set(names)
    assert [n for n in names if n.startswith("models/f")] == ["models/folds_01234567_seed42.csv"]


def test_corrections_travel_to_where_the_recipe_names_them(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel, "ROOT", tmp_path)
    monkeypatch.setattr(labels, "ROOT", tmp_path)
    (tmp_path / "params.yaml").write_text("")
    (tmp_path / "fixes").mkdir()
    (tmp_path / "fixes" / "wrong.csv").write_text("image_id,label\n")
    archive = packed(make_variant(relabel="fixes/wrong.csv"))
    assert archive.read("fixes/wrong.csv") == b"image_id,label\n"
    for path in ("fixes/none.csv", "/elsewhere/wrong.csv"):
        with pytest.raises(UserError, match=f"^{path} is no file below"):
            kernel.package(make_variant(exclude=path))


def test_a_notebook_too_large_for_kaggle_is_not_pushed(work):
    (work / "models").mkdir()
    (work / "models" / "folds_01234567_seed42.csv").write_bytes(os.urandom(900_000))
    with pytest.raises(UserError, match="1 MB"):
        metadata(make_variant())
