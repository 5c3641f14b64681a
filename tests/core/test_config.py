"""The root, the paths, params.yaml with the facts of the competition, and how commands end."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT, refusal, run

from src.core import config, load_facts, load_params, make_variant

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {arch: vit_small\nvariants:\n", "line 2"),
        ("train: {}\npredict: {}\nvariants: {}\ndemo: {}\n", "no section 'competition'"),
        (yaml.safe_dump(SHIPPED | {"variants": {"a": None}}), "row 'a' has no fields"),
        (yaml.safe_dump(SHIPPED | {"demo": SHIPPED["variants"]}), "_224' is given twice"),
        ("variants:\n  a: {arch: a}\n  a: {arch: b}\n", "'a' stands there a second time"),
    ],
)
def test_a_torn_params_yaml_is_one_line_with_its_place(own_params, text, message):
    own_params(text)
    line = refusal(load_params)
    assert line.startswith("params.yaml") and message in line


@pytest.mark.parametrize(
    ("section", "slip", "message"),
    [
        ("train", {"epoch": 12}, "params.yaml, train: unknown parameter 'epoch'; did you mean"),
        ("predict", {"views": None}, "views must be given a value"),
    ],
)
def test_a_wrong_default_is_named(own_params, section, slip, message):
    changed = SHIPPED[section] | slip
    given = {name: value for name, value in changed.items() if value is not None}
    own_params(yaml.safe_dump(SHIPPED | {section: given}))
    assert refusal(make_variant, arch="vit_small").startswith(message)


def test_the_values_that_ship_are_those_of_paddy():
    facts = load_facts()
    assert (facts.slug, facts.images, facts.classes) == ("paddy-disease-classification", 13_876, 10)
    assert (facts.columns, facts.other) == (["image_id", "label"], ["variety", "age"])
    assert facts.layout == ("train.csv", "train_images", "test_images", "sample_submission.csv")
    assert (facts.public, facts.private) == (2_601, 868)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sufix": ".jpg"}, "unknown parameter 'sufix'; did you mean 'suffix'?"),
        ({"slug": None}, "competition: slug must be given a value"),
        ({"slug": "https://kaggle.com/c/paddy"}, "slug='https://kaggle.com/c/paddy'"),
        ({"images": "many"}, "images='many' must be a whole number"),
        ({"private": -1}, "private must be 0 (not known) or more"),
        ({"other": "variety"}, "other='variety' must be a list"),
        ({"other": ["breed"]}, "variety and age"),
        ({"other": [{"a": "b"}]}, "variety and age"),
        ({"label": " "}, "label must not be empty"),
        ({"label": "image_id"}, "two columns"),
        ({"test": "train_images"}, "two folders"),
        ({"metric": "log_loss"}, "metric='log_loss' is not supported"),
    ],
)
def test_a_wrong_fact_is_refused_by_name(own_params, change, message):
    facts = SHIPPED["competition"] | change
    given = {name: value for name, value in facts.items() if value is not None}
    own_params(yaml.safe_dump(SHIPPED | {"competition": given}))
    line = refusal(load_facts)
    assert line.startswith("params.yaml, competition: ") and message in line


def test_work_is_the_repository_unless_paddy_work_moves_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PADDY_WORK", raising=False)
    assert (config.models_dir(), config.work()) == (ROOT / "models", ROOT)
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    assert config.models_dir() == tmp_path / "models"
    assert config.submissions_dir() == tmp_path / "submissions"
    assert config.runs_dir() == tmp_path / "notebooks" / "runs"
    monkeypatch.chdir(tmp_path)  # a folder that is named goes first
    assert config.models_dir(2024) == tmp_path / "2024"  # papermill makes a number of it
    assert config.models_dir("~/mine") == Path.home() / "mine"


@pytest.mark.parametrize(
    ("mistake", "last_line"),
    [
        ("UserError('no rice; sow some')", "error: no rice; sow some"),
        ("OSError('no rice; sow')", "error: no rice; sow"),
        ("KeyboardInterrupt()", "interrupted; "),
        ("ZeroDivisionError()", "Traceback "),  # a bug is not hidden
    ],
)
def test_a_command_ends_with_one_line_and_exits_1(mistake, last_line):
    code = f"from src.core import UserError, command\ndef main(): raise {mistake}\ncommand(main)"
    done = run("-c", code)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith(last_line)
    assert (done.stderr.count("\n") == 1) == (last_line != "Traceback ")
