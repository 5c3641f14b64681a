"""The ends of cycles become one model: of the mean of probabilities, or of the mean of weights."""

from copy import deepcopy

import pytest
import torch
from fastai.vision.all import Callback, CancelFitException
from small_training import tiny, train
from torch import nn

pytestmark = pytest.mark.usefixtures("in_this_process")
SGDR = {"schedule": "sgdr", "cycles": 2, "cycle_mult": 2}  # 1 + 2 epochs of 3 batches


class Ends(Callback):
    """Stores the model after the epochs `numbers`, counted from 1."""

    def __init__(self, *numbers):
        self.numbers, self.models = numbers, []

    def after_train(self):
        if self.schedule.done + 1 in self.numbers:
            self.models.append(deepcopy(self.learn.model).eval())

    def mean(self, images):
        """The mean of the models' probabilities."""
        with torch.no_grad():
            return torch.stack([model(images).softmax(1) for model in self.models]).mean(0)


class StopAfter(Callback):
    """Ends the training by itself after `number` epochs, as a time limit does."""

    order = 90

    def __init__(self, number):
        self.number = number

    def after_epoch(self):
        if len(self.recorder.values) == self.number:
            raise CancelFitException


def require_mean_of(ends, learn) -> None:
    """Assert that `learn` predicts the mean of the probabilities of the models of `ends`."""
    ((images, _),) = learn.remove_cb(StopAfter).dls.valid
    probs, _ = learn.get_preds(dl=learn.dls.valid)
    torch.testing.assert_close(probs, ends.mean(images), atol=1e-6, rtol=0)


def test_members_predict_the_mean_of_the_probabilities_of_all_cycle_ends(
    competition_once, tmp_path
):
    variant = tiny(**SGDR, snapshots="members")
    learn = train(competition_once, tmp_path, variant, ends := Ends(1, 3))
    require_mean_of(ends, learn)
    one, other = (model(learn.dls.valid.one_batch()[0]).softmax(1) for model in ends.models)
    assert (one - other).abs().max() > 1e-3, "two models that differ"
    assert learn.history.outcome["snapshots"] == 2


def test_mean_has_the_mean_of_all_weights_and_batch_norms_measured_anew(
    competition_once, tmp_path
):
    variant = tiny(**SGDR, snapshots="mean")
    learn = train(competition_once, tmp_path, variant, ends := Ends(1, 3))
    for name, weight in learn.model.named_parameters():
        one, other = (model.get_parameter(name) for model in ends.models)
        torch.testing.assert_close(weight, (one + other) / 2)
    assert not torch.equal(one, other)
    norm, *norms = (next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
                    for model in (learn.model, *ends.models))
    assert norm.num_batches_tracked == 3, "one pass over the 24 training images"
    mean = sum(norm.running_mean for norm in norms) / 2
    assert (norm.running_mean - mean).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("recipe", "epochs", "snapshots"),
    [
        ({"snapshots": "members"}, 2, 1),
        ({"snapshots": "mean", "cycle_len": 2}, 1, 0),  # no finished cycle: its weights
    ],
)
def test_cycle_that_is_cut_short_has_no_part_in_the_model(
    competition_once, tmp_path, recipe, epochs, snapshots
):
    variant = tiny(**SGDR | recipe)
    learn = train(competition_once, tmp_path, variant, ends := Ends(1), StopAfter(epochs))
    require_mean_of(ends, learn)
    outcome = learn.history.outcome
    assert (outcome["epochs"], outcome["snapshots"]) == (epochs, snapshots)
