"""Both sides of the parity check are computed without TF32, whatever was set before."""

from contextlib import suppress

import pytest
import torch
from conftest import TINY
from fastai.vision.all import Learner
from small_training import run_of, tiny, untrained
from torch import backends

from src.core import make_variant
from src.training import export, holdout_probs, parity

LEVELS = {
    "all": backends, "cuda": backends.cudnn, "conv": backends.cudnn.conv,
    "rnn": backends.cudnn.rnn, "matmul": backends.cuda.matmul,
}
OFF = dict.fromkeys(LEVELS, "ieee")
# What a user may have set, from nothing to everything.
SETTINGS = [{}, {"all": "tf32"}, {"cuda": "ieee"}, {"cuda": "tf32"}, {"conv": "ieee"},
            {"conv": "tf32", "matmul": "tf32"}, {"all": "ieee", "rnn": "tf32"}]
pytestmark = pytest.mark.usefixtures("in_this_process")


def flags() -> dict[str, str]:
    """The precision in force at every level."""
    return {name: level.fp32_precision for name, level in LEVELS.items()}


def put(settings: dict[str, str]) -> None:
    for name, precision in settings.items():
        LEVELS[name].fp32_precision = precision


@pytest.fixture(autouse=True)
def as_before():
    """Precisions of no other test."""
    before = flags()
    yield
    put(before)


@pytest.fixture
def seen(monkeypatch) -> list[dict]:
    """The flags in force whenever fastai or our own path predicts."""
    seen = []

    def noting(predict):
        return lambda *args, **kwargs: seen.append(flags()) or predict(*args, **kwargs)

    monkeypatch.setattr(Learner, "get_preds", noting(Learner.get_preds))
    monkeypatch.setattr(parity, "predict", noting(parity.predict))
    return seen


@pytest.mark.parametrize("fold", [0, "all"])
def test_both_sides_of_the_check_are_computed_without_tf32(competition_once, tmp_path, seen, fold):
    variant = tiny(fold=fold)
    run = run_of(competition_once, tmp_path, variant)
    learn = untrained(competition_once, tmp_path, variant)
    before = flags()
    assert before["conv"] == "tf32", "torch's default"
    export(learn, variant, holdout_probs(learn, variant), run)
    assert seen == [OFF, OFF]
    assert flags() == before


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_precision_is_put_back_afterwards_also_after_an_error(settings, error):
    put(settings)
    before = flags()
    with suppress(RuntimeError, KeyboardInterrupt), parity.full_precision():
        assert flags() == OFF
        if error:
            raise error
    assert flags() == before


def test_what_was_not_set_by_itself_still_follows_the_general_setting():
    put({"all": "tf32"})
    with parity.full_precision():
        pass
    put({"all": "ieee"})
    assert {flags()[name] for name in ("all", "cuda", "matmul")} == {"ieee"}


def test_old_flags_are_what_they_were_and_nobody_is_warned(recwarn):
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    with parity.full_precision():
        torch.ones(1)
    assert (backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32) == before
    assert not recwarn.list


def test_failed_check_puts_precision_back(competition_once, tmp_path, monkeypatch):
    variant = make_variant(**TINY)
    learn = untrained(competition_once, tmp_path, variant)
    tables, before = holdout_probs(learn, variant), flags()
    monkeypatch.setattr(parity, "predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(learn, variant, tables, run_of(competition_once, tmp_path, variant))
    assert flags() == before
