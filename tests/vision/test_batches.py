"""Batches of fast views: normalised as by fastai, in memory that is lent again."""

import numpy as np
import pytest
import torch
from fastai.vision.all import IntToFloatTensor, Normalize, Pipeline, TensorImage

from src.vision import augment

STATS = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
SHAPE = (2, 3, 5, 7)


@pytest.fixture(autouse=True)
def nothing_spare():
    """Memory of no earlier test."""
    augment.SPARE.clear()


def normalise(pixels: torch.Tensor) -> TensorImage:
    return augment.NormalizeBytes.from_stats(*STATS, cuda=False)(TensorImage(pixels))


def grain(batches: int) -> torch.Tensor:
    return torch.randint(0, 256, (batches, *SHAPE), dtype=torch.uint8)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])  # in training, of the hold-out
def test_batches_are_normalised_as_by_fastai_and_are_the_users_own(kind):
    pixels = grain(9).to(kind)
    theirs = Pipeline([IntToFloatTensor(), Normalize.from_stats(*STATS, cuda=False)])
    batches = [normalise(batch) for batch in pixels]
    for batch, bytes_of_it in zip(batches, pixels.clone(), strict=True):
        torch.testing.assert_close(batch, theirs(TensorImage(bytes_of_it)))


def test_memory_of_a_batch_is_lent_again_once_nothing_refers_to_it():
    pixels, others = grain(3), []
    batch = normalise(pixels[0])
    part, place = batch[1:, :, 2:], batch.data_ptr()
    del batch
    assert normalise(pixels[1]).data_ptr() != place  # a part of it is in use
    del part
    places = []
    for batch in pixels:
        places.append(normalise(batch).data_ptr())
        others.append(np.empty(SHAPE, np.float32))  # takes what the system would hand out again
    assert places == [place] * 3


def test_no_more_memory_is_held_back_than_two_batches_need():
    batches = [normalise(pixels) for pixels in grain(9)]
    del batches
    assert len(augment.SPARE) == 2
    wider = [normalise(torch.zeros(2, 3, 5, 9, dtype=torch.uint8)) for _ in range(3)]
    assert len(augment.SPARE) == 0 and wider[0].shape[-1] == 9
