"""A drawn competition never reaches Kaggle: its place, and the files that were made for it."""

import shutil

import pytest
from conftest import refusal
from small_bundles import call, refused

from src.competition import mounts
from src.core import DEMO_MARKER, load_facts
from src.ensemble.__main__ import main as ensemble
from src.kaggle_api import __main__ as kaggle_api
from src.kaggle_api import client, download, push, submit
from src.submission.__main__ import main as submission

WAY_BACK = "unset PADDY_DATA PADDY_WORK"


@pytest.fixture(autouse=True)
def no_kaggle(monkeypatch):
    """Nothing here may get as far as a call."""
    for room in (download, push, submit):
        monkeypatch.setattr(room, "client", lambda: pytest.fail("Kaggle was called"))


def draw(data):
    (data / DEMO_MARKER).write_text("{}")


def written(models):
    """The submission of these models."""
    assert call(ensemble).returncode == 0
    return models.parent / "submissions" / "paddy_train.csv"


@pytest.mark.parametrize("words", ["submit paddy_train --force --again", "scores",
                                   "push vit_small_squish_224", "download"])
def test_commands_that_talk_to_kaggle_refuse_a_drawn_competition(family, data, words):
    draw(data)
    line = refused(call(kaggle_api.main, *words.split()))
    assert f"{data} is a drawn competition (demo.json)" in line and line.endswith(WAY_BACK)


def test_a_drawn_folder_beside_the_models_or_in_the_real_ones_place_counts_too(
    family, data, tmp_path, monkeypatch
):
    monkeypatch.delenv("PADDY_DATA")
    monkeypatch.setattr(mounts, "KAGGLE_INPUT", tmp_path / "input")
    for folder in (family.parent / "data", tmp_path / "input" / load_facts().slug):
        shutil.copytree(data, folder)
        draw(folder)
        assert f"{folder} is a drawn competition" in refusal(client.require_real)
        shutil.rmtree(folder)


def test_a_solution_beside_the_data_is_no_sign_of_a_drawn_competition(family, data):
    assert (data / "solution.csv").is_file()
    client.require_real()
    assert "drawn" not in call(submission, "check", written(family)).stdout


def test_a_file_of_a_drawn_competition_is_refused_beside_the_real_one_too(family, data):
    draw(data)
    path = written(family)
    (data / DEMO_MARKER).unlink()  # now the real competition, with the very same image ids
    line = refused(call(kaggle_api.main, "submit", "paddy_train", "--force"))
    assert f"{path} was made for a drawn competition" in line and WAY_BACK in line
    done = call(submission, "check", path)
    assert done.returncode == 0 and "of a drawn competition, not for Kaggle" in done.stdout
