"""A batch that memory does not hold is halved, and trains as if that had been the recipe."""

import pytest
import torch
from conftest import refusal
from small_training import Limit, Stop, StopAt, flat, saved_weights, tiny, train

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.mark.parametrize("recipe", [{"epochs": 2}, {"targets": "disease+variety+age"}])
def test_batch_too_large_is_halved(competition_once, tmp_path, capsys, recipe):
    learn = train(competition_once, tmp_path / "halved", tiny(**recipe), limit := Limit(4))
    given = train(competition_once, tmp_path / "given", tiny(**recipe, accum=2))
    assert set(limit.batches) == {4}
    assert learn.history.outcome == given.history.outcome and given.history.outcome["accum"] == 2
    assert torch.equal(flat(learn), flat(given))
    assert "batch size 8; retrying with 4" in capsys.readouterr().err


def test_memory_may_fall_short_later_and_more_than_once(competition_once, tmp_path):
    variant = tiny(epochs=3, mixup=0.4, ema=0.5)
    learn = train(competition_once, tmp_path, variant, limit := Limit(2, since=3))
    assert limit.batches == [8] * 3 + [2] * 24
    assert learn.history.outcome["accum"] == 4 and len(learn.recorder.values) == 3
    assert type(learn.loss_func).__name__ == "CrossEntropyLossFlat"
    assert learn.dls.train.bs == learn.dls.valid.bs == 2


def test_halved_batches_stay_halved_when_a_killed_run_is_resumed(competition_once, tmp_path):
    with pytest.raises(Stop):
        train(competition_once, tmp_path, tiny(epochs=2), Limit(4), StopAt(1))
    learn = train(competition_once, tmp_path, tiny(epochs=2), limit := Limit(4))
    assert limit.batches == [4] * 6 and learn.history.outcome["accum"] == 2


def test_features_that_do_not_fit_halve_the_batch(competition_once, tmp_path):
    variant = tiny(augment="fast", pretrained=saved_weights(tmp_path), precompute=True)
    learn = train(competition_once, tmp_path, variant, Limit(4, body=True))
    assert learn.history.outcome["accum"] == 2


@pytest.mark.parametrize(("bs", "holds", "batch"), [(12, 6, 6), (18, 7, 3), (9, 8, 3)])
def test_parts_of_a_batch_are_equal(competition_once, tmp_path, bs, holds, batch):
    train(competition_once, tmp_path, tiny(bs=bs), limit := Limit(holds))
    assert set(limit.batches) == {batch}


@pytest.mark.parametrize(("bs", "least"), [(8, 2), (5, 5)])
def test_no_memory_for_the_fewest_images_is_one_line(competition_once, tmp_path, bs, least):
    line = refusal(train, competition_once, tmp_path, tiny(bs=bs), Limit(1))
    assert f"out of memory at batch size {least};" in line
