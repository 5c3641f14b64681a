"""The forward pass at its fastest here, with the answers of the model as it was trained."""

import warnings
from collections.abc import Callable

import torch
from fastai.vision.all import Learner
from torch import Tensor, nn

from src.core import terminal

CHUNK = 16  # images at a time: the fused graph is made for one shape
PARITY = 1e-4  # how far the fused graph's probabilities may be from the model's
WARM_UP = 3  # passes in which torch measures, then compiles

Forward = Callable[[Tensor], Tensor]  # images (n, 3, height, width) → logits (n, n_classes)


@torch.inference_mode()
def forward_of(learn: Learner, size: tuple[int, int], fused: bool) -> Forward:
    """The model of `learn` in evaluation mode; `fused`, where that answers alike on this CPU.

    Fusing takes as long as some hundred images; on CUDA the model stays as it is.
    """
    model = learn.model.eval()
    if not fused or next(model.parameters()).is_cuda:
        return model
    example = torch.randn(CHUNK, 3, *size, generator=torch.Generator().manual_seed(0))
    try:
        graph = fuse(model, example)
    except Exception as error:  # torch's tracer and its compiler each fail in their own ways
        reason = str(error).strip().partition("\n")[0]
        _say(reason)
        return model
    difference = float((graph(example).softmax(1) - model(example).softmax(1)).abs().max())
    if not difference <= PARITY:
        _say(f"fused, its answer differs by {difference:.0e}")
        return model
    return graph


def _say(reason: str) -> None:
    text = "a model is asked without a fused graph, exact but slower"
    print(f"{text}: {reason}", file=terminal())


def fuse(model: nn.Module, example: Tensor) -> Forward:
    """`model` as one frozen graph, channels last, its layers fused by oneDNN.

    Source: the documentation of torch.jit.enable_onednn_fusion.
    """
    torch.jit.enable_onednn_fusion(True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constants in the trace: the shape does not change
        example = example.to(memory_format=torch.channels_last)
        graph = torch.jit.freeze(torch.jit.trace(model, example, check_trace=False))
    for _ in range(WARM_UP):
        graph(example)

    def _forward(images: Tensor) -> Tensor:
        padding = images.new_zeros(-len(images) % CHUNK, *images.shape[1:])
        chunks = torch.cat([images, padding]).split(CHUNK)
        chunks = [graph(chunk.contiguous(memory_format=torch.channels_last)) for chunk in chunks]
        return torch.cat(chunks)[: len(images)]

    return _forward
