"""What the training notebook says of its variant first, and of what comes next last."""

import shlex

from small_bundles import variant_in

from src.bundle import pkl_path
from src.competition import get_folds
from src.core import make_variant
from src.notebook import Run, next_steps, summary, variant_table


def run_of(folder, models, variant) -> Run:
    """The run of `variant` as `notebook.start` makes it."""
    folds = get_folds(folder, variant.seed, models, variant.split)
    return Run(folder, models, "paddy_train", folds, 0.0)


def rows_of(folder, models, **changes) -> dict[str, list[str]]:
    """First column → the others, of the table of a variant."""
    variant = make_variant(**changes)
    table = variant_table(variant, run_of(folder, models, variant))
    return {name: others for name, *others in table.to_numpy().tolist()}


# at the start


def test_the_table_has_name_data_images_and_the_fields_that_differ(data, models):
    rows = rows_of(data, models, arch="test_vit", sizes="96,224", pretrained=False)
    assert rows == {
        "name": ["test_vit_squish_224", ""], "data": [str(data), ""],
        "images trained on": ["24", ""], "images held out": ["6", ""],
        "arch": ["test_vit", "convnext_small"], "pretrained": ["False", "True"],
        "sizes": ["96,224", "(empty)"],
    }


def test_images_left_out_are_not_counted_as_trained_on(data, models, tmp_path):
    folds = run_of(data, models, make_variant()).folds
    left_out = [folds.index[folds == 0][0], *folds.index[folds == 1][:2]]  # the first is held out
    path = tmp_path / "exclude.csv"
    path.write_text("image_id\n" + "\n".join(left_out) + "\n")
    rows = rows_of(data, models, exclude=str(path))
    assert (rows["images trained on"][0], rows["images held out"][0]) == ("22", "6")


def test_where_nothing_is_held_out_the_table_says_so(data, models):
    rows = rows_of(data, models, fold="all")
    assert rows["images trained on"][0] == "30" and rows["images held out"][0].startswith("none")


# at the end


def ending(folder, models, **changes) -> list[str]:
    """The last lines of the notebook that trained a variant."""
    name = variant_in(models, folder, **changes)
    return next_steps(pkl_path(models, name), run_of(folder, models, make_variant())).splitlines()


def commands(lines: list[str]) -> list[list[str]]:
    """Those of `lines` that can be typed, in words."""
    return [shlex.split(line) for line in lines if line.startswith(("python ", "papermill "))]


def test_the_end_names_the_file_the_error_and_the_commands_that_follow(data, models):
    lines = ending(data, models, wrong=2)
    assert str(models / "test_vit_squish_224.pkl") in lines[0] and "probabilities" in lines[0]
    assert "2 of 6 wrong: 33.33 %" in lines[1]
    assert commands(lines) == [
        ["python", "-m", "src.ensemble"],
        ["papermill", "notebooks/paddy_ensemble.ipynb", "notebooks/runs/vote.ipynb"],
    ]


def test_the_end_names_the_notebook_where_models_come_from_several(data, models):
    variant_in(models, data)
    lines = ending(data, models, desc="mine", card={"notebook": "my_try"})
    assert commands(lines)[0][3:] == ["--notebook", "paddy_train"]  # the one whose run it is


def test_without_a_hold_out_the_end_claims_no_probabilities_and_no_error(data, models):
    lines = ending(data, models, fold="all")
    assert "probabilities" not in lines[0] and "no error is known" in lines[1]


def test_folders_that_commands_would_not_find_are_given_to_them(data, models, monkeypatch):
    monkeypatch.delenv("PADDY_DATA")
    plain, drawn = commands(ending(data, models))
    assert plain == ["python", "-m", "src.ensemble", "--data", str(data)]
    assert drawn[3:] == ["-p", "data", str(data)]
    other = models.parent / "another folder"  # of which the command cannot be told
    assert [words[3:] for words in commands(ending(data, other))] == [
        ["-p", "data", str(data), "-p", "models", str(other)]
    ]


def test_in_a_kernel_which_has_the_package_alone_no_notebook_is_named(
    data, models, tmp_path, monkeypatch
):
    monkeypatch.setattr(summary, "ROOT", tmp_path)
    assert commands(ending(data, models)) == []
