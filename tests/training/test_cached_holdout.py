"""The hold-out is read once in a training, and validated as if it were read in every epoch."""

import pytest
from small_training import flat, tiny, train

from src.training.callbacks import epochs
from src.vision import augment
from src.vision import loaders as data

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def times_read(monkeypatch):
    """Call it with a Learner: how often its held-out photographs were opened since last time."""
    opened, original = [], augment.open_image
    for room in (augment, data):
        monkeypatch.setattr(room, "open_image", lambda *args: opened.append(args[0])
                            or original(*args))

    def times(learn) -> set[int]:
        counts = {opened.count(path) for path in learn.dls.valid_ds.items}
        opened.clear()
        return counts

    return times


@pytest.mark.parametrize(
    ("recipe", "times"),
    [
        ({"epochs": 2, "augment": "fast", "targets": "disease+variety"}, 1),
        ({"epochs": 4, "sizes": "24,32", "ema": 0.5}, 2),  # once at each size
    ],
)
def test_a_training_reads_its_hold_out_once(
    competition_once, tmp_path, monkeypatch, times_read, recipe, times
):
    learn = train(competition_once, tmp_path / "cached", tiny(**recipe))
    assert times_read(learn) == {times}
    monkeypatch.setattr(epochs, "SHARE", 0)
    anew = train(competition_once, tmp_path / "anew", tiny(**recipe))
    assert times_read(anew) == {recipe["epochs"]}
    assert learn.recorder.values == anew.recorder.values
    assert (flat(learn) == flat(anew)).all()


@pytest.mark.parametrize(("share", "times"), [(5, 2), (5.5, 1)])
def test_a_hold_out_too_large_for_the_free_memory_is_read_in_every_epoch(
    competition_once, tmp_path, monkeypatch, times_read, share, times
):
    # Batches of 4 and 2 images: room for as many as there are, of 4, in a quarter of the memory.
    floats = 6 * 32 * 32 * 3 * 4
    monkeypatch.setattr(epochs, "free_memory", lambda: share * floats)
    learn = train(competition_once, tmp_path, tiny(epochs=2, bs=4))
    assert times_read(learn) == {times}
