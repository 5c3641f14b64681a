"""A run of the training notebook: what it refuses before any work, its table, what comes next."""

import shlex

import pytest
from conftest import TINY, bundle_files, refusal
from small_bundles import bundle_in, variant_in
from small_training import run_of

from src import competition
from src.bundle import pkl_path
from src.core import make_variant
from src.training import next_steps, run, start, variant_table

# at the start


def begin(overwrite=False, **changes):
    """The check of the notebook's first cell, for the tiny variant with `changes`."""
    return start(make_variant(**TINY | changes), "", "", "paddy_train", overwrite)


def test_size_that_does_not_fit_is_refused_with_those_that_do(data, models):
    line = refusal(begin, arch="test_vit", size=33)
    assert line.startswith("size=33 does not fit test_vit; it takes multiples of 16")
    assert not models.exists()


def test_unreadable_test_images_are_refused_before_training(data, models):
    next((data / "test_images").glob("*.jpg")).write_text("not a picture")
    assert refusal(begin).startswith("unreadable images (1): ")
    assert list(models.rglob("*.*")) == []


def test_models_folder_that_cannot_be_written_is_refused_before_images_are_read(
    data, tmp_path, monkeypatch
):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "fresh"))
    (tmp_path / "fresh").write_text("a file where a folder should be")
    monkeypatch.setattr(competition, "require_images", lambda _: pytest.fail("images were read"))
    assert "cannot write" in refusal(begin)


def test_missing_weights_are_refused_before_training(data, models):
    assert "no such weights file" in refusal(begin, pretrained="missing.safetensors")


def test_finished_recipe_ends_the_notebook_another_is_refused_overwrite_starts_it(
    data, work, capsys
):
    before = bundle_files(work)
    with pytest.raises(SystemExit) as end:
        begin()
    assert end.value.code == 0 and "finished already" in capsys.readouterr().err
    line = refusal(begin, epochs=2)
    assert line.startswith("test_resnet_squish_32 exists with another recipe (")
    assert "epochs" in line and "-p desc NAME" in line and "-p overwrite true" in line
    begun = begin("true", epochs=2)
    assert (begun.models, begun.folder) == (work / "models", data)
    assert refusal(begin, "yes") == "overwrite='yes' must be true or false"
    assert bundle_files(work) == before


# the table


def rows_of(folder, models, **changes) -> dict[str, list[str]]:
    """First column → the others, of the table of a variant."""
    variant = make_variant(**changes)
    table = variant_table(variant, run_of(folder, models, variant))
    return {name: others for name, *others in table.to_numpy().tolist()}


def test_table_has_name_data_images_and_the_fields_that_differ(data, models):
    rows = rows_of(data, models, arch="test_vit", sizes="96,224", pretrained=False)
    assert rows == {
        "name": ["test_vit_squish_224", ""], "data": [str(data), ""],
        "images trained on": ["24", ""], "images held out": ["6", ""],
        "arch": ["test_vit", "convnext_small"], "pretrained": ["False", "True"],
        "sizes": ["96,224", ""],
    }


def test_images_left_out_are_not_counted_as_trained_on(data, models, tmp_path):
    folds = run_of(data, models, make_variant()).folds
    left_out = [folds.index[folds == 0][0], *folds.index[folds == 1][:2]]  # the first is held out
    path = tmp_path / "exclude.csv"
    path.write_text("image_id\n" + "\n".join(left_out) + "\n")
    rows = rows_of(data, models, exclude=str(path))
    assert (rows["images trained on"][0], rows["images held out"][0]) == ("22", "6")
    rows = rows_of(data, models, fold="all")
    assert (rows["images trained on"][0], rows["images held out"][0]) == ("30", "0")


# at the end


def ending(folder, models, **changes) -> tuple[str, list[list[str]]]:
    """The last text of the notebook that trained a variant, and its commands, in words."""
    name = variant_in(models, folder, **changes)
    text = next_steps(pkl_path(models, name), run_of(folder, models, make_variant()))
    lines = text.splitlines()
    return text, [shlex.split(s) for s in lines if s.startswith(("python ", "papermill "))]


def test_the_end_names_the_file_the_error_and_the_commands_that_follow(data, models):
    text, commands = ending(data, models, wrong=2)
    assert str(models / "test_vit_squish_224.pkl") in text and "2 of 6 wrong: 33.33 %" in text
    assert commands == [
        ["python", "-m", "src.ensemble"],
        ["papermill", "notebooks/paddy_ensemble.ipynb", "notebooks/runs/ensemble.ipynb"],
    ]


def test_the_notebook_is_named_where_models_of_several_lie_together(data, models):
    bundle_in(models, data, "other", notebook="night")
    plain, drawn = ending(data, models)[1]
    assert plain == ["python", "-m", "src.ensemble", "--notebook", "paddy_train"]
    assert len(drawn) == 3


def test_folders_that_commands_would_not_find_are_given_to_them(data, models, monkeypatch):
    monkeypatch.delenv("PADDY_DATA")
    plain, drawn = ending(data, models)[1]
    assert plain == ["python", "-m", "src.ensemble", "--data", str(data)]
    assert drawn[3:] == ["-p", "data", str(data)]
    other = models.parent / "another folder"  # for which the command has no option
    assert [words[3:] for words in ending(data, other)[1]] == [
        ["-p", "data", str(data), "-p", "models", str(other)]
    ]


def test_in_a_kernel_on_kaggle_no_notebook_is_named(data, models, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    assert ending(data, models, fold="all")[1] == []
