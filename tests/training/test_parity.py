"""Both sides of the parity check are computed without TF32, whatever was set before."""

import sys
from contextlib import suppress

import pytest
from fastai.vision.all import Learner
from small_training import run_of, tiny, untrained
from torch import backends

from src.training import export, holdout_probs
from src.training.export import full_precision

LEVELS = backends.cudnn.conv, backends.cuda.matmul
pytestmark = pytest.mark.usefixtures("in_this_process")


def precisions() -> list[str]:
    """The precision in force for convolutions and matrix products."""
    return [level.fp32_precision for level in LEVELS]


def set_precisions(settings) -> None:
    for level, precision in zip(LEVELS, settings, strict=True):
        level.fp32_precision = precision


@pytest.fixture(autouse=True)
def as_before():
    """Precisions of no other test."""
    before = precisions()
    yield
    set_precisions(before)


@pytest.mark.parametrize("fold", [0, "all"])
def test_both_sides_are_computed_without_tf32_also_if_one_fails(
    competition_once, tmp_path, monkeypatch, fold
):
    variant, room, seen = tiny(fold=fold), sys.modules["src.training.export"], []

    def noting(predict):
        return lambda *args, **kwargs: seen.append(precisions()) or predict(*args, **kwargs)

    run = run_of(competition_once, tmp_path, variant)
    learn = untrained(competition_once, tmp_path, variant)
    before = precisions()
    assert before[0] == "tf32", "torch's default"
    monkeypatch.setattr(Learner, "get_preds", noting(Learner.get_preds))
    tables = holdout_probs(learn, variant)
    monkeypatch.setattr(room, "predict", noting(room.predict))
    export(learn, variant, tables, run)
    assert seen == [["ieee", "ieee"]] * 2
    assert precisions() == before
    monkeypatch.setattr(room, "predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(learn, variant, tables, run)
    assert precisions() == before


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("settings", [("tf32", "tf32"), ("ieee", "tf32"), ("none", "none")])
def test_precision_is_restored_afterwards_also_after_an_error(settings, error):
    set_precisions(settings)
    before = precisions()
    with suppress(RuntimeError, KeyboardInterrupt), full_precision():
        assert precisions() == ["ieee", "ieee"]
        if error:
            raise error
    assert precisions() == before
