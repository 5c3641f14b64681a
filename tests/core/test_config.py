"""The root, the paths, params.yaml, and how commands end."""

from pathlib import Path

import pytest
import yaml
from conftest import ROOT, refusal, run

from src import competition
from src.core import UserError, config, load_params, make_variant

# params.yaml


def test_torn_params_yaml_is_one_line_with_its_place(own_params):
    own_params("train: {arch: vit_small\nvariants:\n")
    with pytest.raises(UserError, match="line 2") as error:
        load_params()
    message = str(error.value)
    assert "params.yaml" in message and "\n" not in message


def test_a_params_yaml_without_rows_is_told(own_params):
    own_params("train: {}\npredict: {}\nvariants:\ndemo: {}\n")
    with pytest.raises(UserError, match="no rows under 'variants'"):
        load_params()


def test_a_row_of_params_yaml_without_fields_is_named(own_params):
    own_params("train: {}\npredict: {}\nvariants:\n  vit_small:\ndemo: {}\n")
    with pytest.raises(UserError, match="row 'vit_small' has no fields"):
        load_params()


def test_a_row_copied_and_not_renamed_is_told(own_params):
    own_params("train: {}\npredict: {}\nvariants:\n  a: {arch: a}\n  a: {arch: b}\ndemo: {}\n")
    with pytest.raises(UserError, match="line 5: 'a' stands there a second time"):
        load_params()


@pytest.mark.parametrize(
    ("section", "slip", "message"),
    [
        ("train", {"epoch": 12}, "params.yaml, train: unknown parameter 'epoch'; did you mean"),
        ("predict", {"view": 4}, "params.yaml, predict: unknown parameter 'view'; did you mean"),
        ("predict", {"views": None}, "params.yaml: views must be given a value"),
    ],
)
def test_a_wrong_default_is_named(own_params, section, slip, message):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    changed = params[section] | slip
    given = {name: value for name, value in changed.items() if value is not None}
    own_params(yaml.safe_dump(params | {section: given}))
    assert refusal(lambda: make_variant(arch="vit_small")).startswith(message)


# places


def test_a_folder_may_be_called_by_a_number(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert config.models_dir(2024) == tmp_path / "2024"
    with pytest.raises(UserError, match="no competition in .*/2024"):
        competition.find(2024)


def test_work_is_the_repository_unless_paddy_work_moves_it(tmp_path, monkeypatch):
    monkeypatch.delenv("PADDY_WORK", raising=False)
    assert (config.models_dir(), config.work()) == (ROOT / "models", ROOT)
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    assert config.models_dir() == tmp_path / "models"
    assert config.submissions_dir() == tmp_path / "submissions"
    assert config.runs_dir() == tmp_path / "notebooks" / "runs"


def test_models_parameter_goes_before_paddy_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert config.models_dir("mine") == tmp_path / "mine"
    assert config.models_dir("~/mine") == Path.home() / "mine"


# commands

FAILING = "from src.core import UserError, command\ndef main(): raise {}\ncommand(main)"


@pytest.mark.parametrize("mistake", ["UserError('no rice; sow some')", "OSError('no rice; sow')"])
def test_command_tells_a_users_mistake_in_one_line_and_exits_1(mistake):
    done = run("-c", FAILING.format(mistake))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no rice; sow") and done.stderr.count("\n") == 1


def test_command_does_not_hide_a_bug():
    done = run("-c", FAILING.format("ZeroDivisionError()"))
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_interrupted_command_says_what_is_kept():
    done = run("-c", FAILING.format("KeyboardInterrupt()"))
    assert done.returncode == 1 and done.stderr.startswith("interrupted; ")
