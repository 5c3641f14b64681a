"""A batch that memory does not hold is halved, and trains as if that had been asked for."""

import pytest
import torch
from small_training import Limit, Stop, StopAt, flat, tiny, train

from src.core import UserError

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_batch_too_large_is_halved_and_trains_as_if_asked_to(competition_once, tmp_path, capsys):
    limit = Limit(4)
    learn = train(competition_once, tmp_path / "halved", tiny(epochs=2), limit)
    asked = train(competition_once, tmp_path / "asked", tiny(epochs=2, accum=2))
    assert limit.batches == [4] * 12
    assert learn.history.outcome == {"epochs": 2, "planned": 2, "lr": 0.01, "accum": 2}
    assert learn.history.outcome == asked.history.outcome
    assert torch.equal(flat(learn), flat(asked))
    assert "batch size 8; retrying with 4" in capsys.readouterr().err


def test_memory_may_fall_short_later_and_more_than_once(competition_once, tmp_path):
    limit = Limit(2, since=1)
    variant = tiny(epochs=3, mixup=0.4, ema=0.5)
    learn = train(competition_once, tmp_path, variant, limit)
    assert limit.batches == [8] * 3 + [2] * 24
    assert learn.history.outcome["accum"] == 4 and len(learn.recorder.values) == 3
    assert type(learn.loss_func).__name__ == "CrossEntropyLossFlat"
    assert learn.dls.train.bs == learn.dls.valid.bs == 2


def test_halved_batches_stay_halved_when_a_killed_run_goes_on(competition_once, tmp_path):
    with pytest.raises(Stop):
        train(competition_once, tmp_path, tiny(epochs=2), Limit(4), StopAt(1))
    learn = train(competition_once, tmp_path, tiny(epochs=2), limit := Limit(4))
    assert limit.batches == [4] * 6 and learn.history.outcome["accum"] == 2


@pytest.mark.parametrize(("bs", "holds", "batch"), [(12, 6, 6), (18, 7, 3), (9, 8, 3)])
def test_parts_of_a_batch_are_equal(competition_once, tmp_path, bs, holds, batch):
    train(competition_once, tmp_path, tiny(bs=bs), limit := Limit(holds))
    assert set(limit.batches) == {batch}


@pytest.mark.parametrize("bs", [8, 5])
def test_no_memory_for_the_fewest_images_is_one_line(competition_once, tmp_path, bs):
    with pytest.raises(UserError) as error:
        train(competition_once, tmp_path, tiny(bs=bs), Limit(1))
    least = {8: 2, 5: 5}[bs]
    assert f"out of memory at batch size {least};" in str(error.value)
    assert "\n" not in str(error.value)
