"""Mixed precision: where 16 bits are used, what stays in float32, what a bundle has of it."""

import pytest
import torch
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.vision.all import Callback
from small_training import Stop, StopAt, begun, exported, flat, run_of, tiny, train

from src import bundle
from src.training import fit
from src.training.precision import _slow_in_half, precision_cbs, precision_of

pytestmark = pytest.mark.usefixtures("in_this_process")
MACHINES = {  # what a machine has → what its trainings compute in
    "bf16": {"is_available": True, "is_bf16_supported": True},
    "fp16": {"is_available": True, "is_bf16_supported": False},
}


def computes_bf16(monkeypatch, bf16: bool) -> None:
    """A processor without a GPU that computes in bf16, or one that does not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("src.training.precision.computes_bf16", lambda: bf16)


class Types(Callback):
    """The types of what the model and its convolutions, by depthwise and strided, return."""

    order = 80

    def __init__(self):
        self.convs, self.preds = {}, set()

    def before_fit(self):
        convs = [m for m in self.model.modules() if isinstance(m, torch.nn.Conv2d)]
        self.hooks = [conv.register_forward_hook(self.note) for conv in convs]

    def after_fit(self):
        for hook in self.hooks:
            hook.remove()

    def note(self, module, _, output):
        if self.training:
            kind = module.groups > 1, max(module.stride) > 1
            self.convs.setdefault(kind, set()).add(output.dtype)

    def after_pred(self):
        if self.training:
            self.preds.add(self.pred.dtype)


@pytest.mark.parametrize("mode", MACHINES)
def test_gpu_computes_in_bf16_if_it_can(monkeypatch, mode):
    for name, value in MACHINES[mode].items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value, **_: value)
    (callback,) = precision_cbs()
    assert isinstance(callback, MixedPrecision) and callback.amp_mode == AMPMode(mode)
    assert precision_of([callback]) == mode


def test_processor_without_bf16_computes_in_float32(monkeypatch):
    computes_bf16(monkeypatch, False)
    assert precision_cbs() == [] and precision_of([]) == "fp32"


def test_processor_computes_in_bf16_but_for_slow_convolutions_and_the_loss(
    competition_once, tmp_path, monkeypatch
):
    computes_bf16(monkeypatch, True)
    variant = tiny(arch="test_efficientnet")
    learn = exported(competition_once, tmp_path, variant, types := Types())
    assert types.convs[False, False] == {torch.bfloat16}
    assert types.convs[True, True] == {torch.float32}
    assert types.preds == {torch.float32}
    assert {p.dtype for p in learn.model.parameters()} == {torch.float32}
    assert bundle.read_card(tmp_path, variant.name)["training"]["precision"] == "bf16"
    assert not any("forward" in vars(module) for module in learn.model.modules())


@pytest.mark.parametrize("stride, kernel, groups, slow", [
    (1, 3, 8, False), (2, 3, 8, True), (1, 5, 8, True), (2, 3, 1, False), (1, 5, 1, False),
])  # fmt: skip
def test_strided_and_large_depthwise_convolutions_are_the_slow_ones(stride, kernel, groups, slow):
    conv = torch.nn.Conv2d(8, 8, kernel, stride, groups=groups)
    assert _slow_in_half(conv) == slow


def test_interrupted_training_computes_in_bf16_when_it_is_continued(
    competition_once, tmp_path, monkeypatch
):
    computes_bf16(monkeypatch, True)
    variant = tiny(epochs=2)
    run = run_of(competition_once, tmp_path / "stopped", variant)
    learn = begun(run, variant, StopAt(1))
    with pytest.raises(Stop):
        fit(learn, variant, run)
    assert not torch.is_autocast_enabled("cpu")
    learn.remove_cbs(learn.stop_at)
    fit(learn.add_cb(types := Types()), variant, run)
    whole = train(competition_once, tmp_path / "whole", variant)
    assert types.convs[False, False] == {torch.bfloat16}
    assert torch.equal(flat(learn), flat(whole))
