"""Mixed precision: the training computes in 16 bits where the machine is faster at it."""

from functools import partial

import torch
from fastai.callback.fp16 import AMPMode, MixedPrecision
from fastai.vision.all import Callback, to_float
from torch import Tensor, nn

HALF = torch.bfloat16  # the range of float32: gradients need no scaling


def precision_cbs() -> list[Callback]:
    """bf16 where the GPU, or without one the processor, computes in it; else fp16 on a GPU."""
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return [MixedPrecision(AMPMode.BF16 if bf16 else AMPMode.FP16)]
    return [Bfloat16()] if computes_bf16() else []


def computes_bf16() -> bool:
    """Whether the processor has instructions for bf16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def precision_of(cbs: list[Callback]) -> str:
    """What a Learner with `cbs` computes in: fp32, fp16 or bf16."""
    modes = [cb.amp_mode.value for cb in cbs if isinstance(cb, (MixedPrecision, Bfloat16))]
    return modes[0] if modes else "fp32"


class Bfloat16(Callback):
    """fastai's MixedPrecision for a processor: the forward pass under autocast, the loss not.

    Strided and large depthwise convolutions stay in float32: their backward pass is many times
    slower in bf16, in oneDNN 3 (a whole step: benchmarks/bench_step.py).
    """

    order, amp_mode = 10, AMPMode.BF16

    def before_fit(self) -> None:
        """Wrap the model, and the convolutions that stay in float32."""
        self.after_fit()  # of a fit that ran out of memory
        for conv in filter(_slow_in_half, self.learn.model.modules()):
            conv.forward = partial(_in_float32, conv.forward)
        self.learn.model.forward = partial(_in_half, self.learn.model.forward)

    def after_pred(self) -> None:
        """Compute the loss in float32."""
        self.learn.pred = to_float(self.pred)

    def after_fit(self) -> None:
        """Leave the model as it was."""
        for module in (self.learn.model, *filter(_slow_in_half, self.learn.model.modules())):
            vars(module).pop("forward", None)


def _slow_in_half(module: nn.Module) -> bool:
    conv = isinstance(module, nn.Conv2d) and module.groups > 1
    return conv and (max(module.stride) > 1 or max(module.kernel_size) > 3)


def _in_half(forward: partial, *inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", HALF):
        return forward(*inputs)


def _in_float32(forward: partial, *inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(*(x.float() for x in inputs))
