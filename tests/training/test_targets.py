"""`targets`: variety and age are learnt beside the disease; what remains knows it alone."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.vision.all import Callback
from small_training import flat, tiny, train

from src.training.callbacks import targets
from src.training.callbacks.targets import encoded
from src.vision import augment

pytestmark = pytest.mark.usefixtures("in_this_process")
ALL = "disease+variety+age"


@pytest.fixture
def varied(data):
    """A competition whose varieties and ages are independent of the disease; all ages differ."""
    table = pd.read_csv(data / "train.csv")
    table["variety"] = [["ADT45", "IR20", "Ponni", "Zonal"][number % 4] for number in table.index]
    table["age"] = [40 + (7 * number) % len(table) for number in table.index]
    table.to_csv(data / "train.csv", index=False)
    return data


class Raw(Callback):
    """All outputs, targets of the disease, and what the gradients are of, batch by batch."""

    order = 70

    def __init__(self, read):
        self.read = read

    def before_fit(self):
        self.outputs, self.batches, self.starts, self.shown = [], [], [], set()
        self.model.register_forward_hook(lambda _, __, output: self.outputs.append(output.detach()))

    def before_train(self):
        self.starts.append(len(self.read))

    def after_loss(self):
        self.shown.add(self.pred.shape[1])
        if self.training:
            facts = self.outputs[-1], self.y.clone(), self.loss.item(), self.loss_grad.item()
            self.batches.append(facts)


@pytest.mark.parametrize("sampler", ["uniform", "hard"])
def test_gradients_are_of_the_losses_of_all_targets_of_the_right_images(
    varied, tmp_path, monkeypatch, sampler
):
    read, read_one = [], augment.open_image
    monkeypatch.setattr(
        augment, "open_image", lambda path, *frame: read.append(path.name) or read_one(path, *frame)
    )
    variant = tiny(targets=ALL, epochs=2, sampler=sampler, label_smoothing=0)
    train(varied, tmp_path, variant, raw := Raw(read))
    table = pd.read_csv(varied / "train.csv").set_index("image_id")
    age = (table.age - table.age.mean()) / table.age.std()
    variety = table.variety.map({"ADT45": 0, "IR20": 1, "Ponni": 2, "Zonal": 3})
    for number, (outputs, disease, loss, total) in enumerate(raw.batches):
        epoch, batch = divmod(number, 3)
        images = read[raw.starts[epoch] + 8 * batch :][:8]
        assert outputs.shape == (8, 3 + 4 + 1)
        by_hand = F.cross_entropy(outputs[:, :3], disease).item()
        assert loss == pytest.approx(by_hand, rel=1e-5)
        by_hand += 0.2 * F.cross_entropy(outputs[:, 3:7], torch.tensor([*variety[images]])).item()
        by_hand += 0.2 * F.mse_loss(outputs[:, 7], torch.tensor([*age[images]]).float()).item()
        assert total == pytest.approx(by_hand, rel=1e-4)
    assert raw.shown == {3}  # also for the metrics, training and hold-out


def test_other_targets_change_the_model_and_without_weight_they_do_not(
    varied, tmp_path, monkeypatch
):
    alone = flat(train(varied, tmp_path / "alone", tiny()))
    beside = flat(train(varied, tmp_path / "beside", tiny(targets=ALL)))
    monkeypatch.setattr(targets, "WEIGHT", 0.0)
    nothing = flat(train(varied, tmp_path / "nothing", tiny(targets=ALL)))
    torch.testing.assert_close(nothing, alone, rtol=1e-3, atol=1e-4)
    assert beside.shape == alone.shape and (beside - alone).abs().max() > 0.01


def test_age_is_a_target_only_where_named_and_one_age_for_all_is_no_trouble(data, tmp_path):
    table = pd.read_csv(data / "train.csv").assign(age=60)
    table.to_csv(data / "train.csv", index=False)
    assert list(encoded(data, "disease+variety")) == ["variety"]
    assert (encoded(data, ALL).age == 0).all()
    assert torch.isfinite(flat(train(data, tmp_path, tiny(targets=ALL)))).all()
