"""The hold-out is read once in a training, and validated as if it were read in every epoch."""

import pytest
from small_training import flat, tiny, train

from src.training.callbacks import epochs
from src.vision import augment
from src.vision import loaders as data

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def reads(monkeypatch):
    """The paths of all photographs opened for a training, in order."""
    opened, original = [], augment.open_image

    def noting(path, frame=None):
        opened.append(path)
        return original(path, frame)

    for room in (augment, data):
        monkeypatch.setattr(room, "open_image", noting)
    return opened


def times_read(learn, reads) -> set[int]:
    """How often the held-out photographs were opened."""
    return {reads.count(path) for path in learn.dls.valid_ds.items}


@pytest.mark.parametrize(
    ("recipe", "times"),
    [
        ({"epochs": 2, "augment": "fast", "targets": "disease+variety"}, 1),
        ({"epochs": 3, "ema": 0.5, "bs": 4}, 1),
        ({"epochs": 4, "sizes": "24,32"}, 2),  # once at each size
    ],
)
def test_a_training_reads_its_hold_out_once(
    competition_once, tmp_path, monkeypatch, reads, recipe, times
):
    learn = train(competition_once, tmp_path / "cached", tiny(**recipe))
    assert times_read(learn, reads) == {times}
    monkeypatch.setattr(epochs, "SHARE", 0)
    reads.clear()
    anew = train(competition_once, tmp_path / "anew", tiny(**recipe))
    assert times_read(anew, reads) == {recipe["epochs"]}
    assert learn.recorder.values == anew.recorder.values
    assert (flat(learn) == flat(anew)).all()


@pytest.mark.parametrize(("share", "times"), [(3.9, 2), (4.2, 1)])  # of a quarter of the memory
def test_a_hold_out_too_large_for_the_free_memory_is_read_in_every_epoch(
    competition_once, tmp_path, monkeypatch, reads, share, times
):
    floats = 6 * 32 * 32 * 3 * 4
    monkeypatch.setattr(epochs, "free_memory", lambda: share * floats)
    learn = train(competition_once, tmp_path, tiny(epochs=2, bs=2))
    assert len(learn.dls.valid_ds) == 6 and times_read(learn, reads) == {times}
