"""The first cell of a notebook: what it refuses before any work, in one line."""

import pytest
from conftest import TINY, bundle_files, refusal, run

from src.core import PLACES, make_variant
from src.notebook import run as notebook


def namespace(**injected) -> dict:
    """What globals() of the training notebook is once papermill has injected something."""
    cell = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in injected.items())])
    places = dict.fromkeys(PLACES, "")
    return make_variant(**TINY).recipe | places | {"In": ["", "arch = 'x'", cell]} | injected


def start(**changes):
    """The check of the notebook's first cell, for the tiny variant with `changes`."""
    return notebook.start(make_variant(**TINY | changes), "", "", "paddy_train", False)


def test_known_names_are_read_into_a_variant():
    read = notebook.read_variant(namespace(arch="test_vit", size="64x48", PAPERMILL_INPUT_PATH="x"))
    assert read == make_variant(**TINY | {"arch": "test_vit", "size": "64x48"})


@pytest.mark.parametrize(
    ("name", "nearest"), [("archh", "arch"), ("sise", "size"), ("model", "models")]
)
def test_misspelt_name_is_refused_with_the_nearest(name, nearest):
    line = refusal(notebook.read_variant, namespace(**{name: "x"}))
    assert line.startswith(f"unknown parameter {name!r}; did you mean {nearest!r}")


def test_size_that_does_not_fit_is_refused_with_those_that_do(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    line = refusal(lambda: start(arch="test_vit", size=33))
    assert line == "size=33 does not fit test_vit; it takes multiples of 16 (made for 160)"
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    ("images", "spoilt", "more"),
    [("train_images/*", 1, ""), ("train_images/*", 12, " and 2 more"), ("test_images", 1, "")],
)
def test_unreadable_images_are_refused_naming_the_first_ten(
    data, tmp_path, monkeypatch, images, spoilt, more
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    bad = sorted(data.glob(f"{images}/*.jpg"), key=lambda path: path.name)[:spoilt]
    for path in bad:
        path.write_text("not a picture")
    line = refusal(start)
    named = [path for path in bad if f"{path.parent.name}/{path.name}" in line]
    assert named == bad[:10]
    assert line.startswith(f"unreadable images ({spoilt}): ") and f"{more}; restore them" in line
    assert list((tmp_path / "fresh").rglob("*.*")) == []


def test_missing_data_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_DATA", str(tmp_path / "none"))
    assert "no competition in" in refusal(start)


def test_models_folder_that_cannot_be_written_is_refused_before_any_work(
    data, tmp_path, monkeypatch
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    (tmp_path / "fresh").write_text("a file where a folder should be")
    monkeypatch.setattr(notebook, "require_images", lambda _: pytest.fail("images were read"))
    assert "cannot write" in refusal(start)


def test_overwrite_is_true_or_false(data):
    places = ("", "", "paddy_train", "yes")
    line = refusal(notebook.start, make_variant(**TINY), *places)
    assert line == "overwrite='yes' must be true or false"


@pytest.mark.parametrize("change", [{"epochs": 2}, {"lr": 0.03}, {"item_size": 64}])
def test_another_recipe_of_the_same_name_is_refused_and_nothing_changes(data, work, change):
    before = bundle_files(work)
    line = refusal(lambda: start(**change))
    assert line.startswith("test_resnet_squish_32 exists with another recipe (")
    assert next(iter(change)) in line and "-p desc NAME" in line and "-p overwrite true" in line
    assert bundle_files(work) == before


def test_finished_recipe_ends_the_notebook_without_an_error(data, work, capsys):
    before = bundle_files(work)
    with pytest.raises(SystemExit) as end:
        start()
    assert end.value.code == 0
    assert "finished already" in capsys.readouterr().err
    assert bundle_files(work) == before


@pytest.mark.parametrize("yes", ["true", True])
def test_overwrite_starts_what_is_finished_or_of_another_recipe(data, work, yes):
    variant = make_variant(**TINY | {"epochs": 2})
    begun = notebook.start(variant, "", "", "paddy_train", yes)
    assert begun.models == work / "models" and begun.folder == data


def test_the_check_of_parameters_needs_no_torch():
    code = "import sys, src.notebook, src.ensemble; print('torch' in sys.modules)"
    done = run("-c", code)
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(("given", "read"), [("true", True), ("False", False), (True, True)])
def test_a_flag_is_read_from_what_papermill_passes_on(given, read):
    assert notebook.read_flag("force", given) is read
    assert refusal(notebook.read_flag, "force", "yes") == "force='yes' must be true or false"
