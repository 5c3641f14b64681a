"""timm's side of a Variant: full names, families, sizes."""

import logging
from functools import cache
from typing import Any

import timm
import torch
from timm.models import _registry as registry

from src.core import UserError, Variant, height_width, nearest, split_sizes

# The names of the published recipe, at the weights it used; timm's own names work too.
ALIASES = {
    "convnext_tiny": "convnext_tiny.fb_in22k",
    "convnext_small": "convnext_small.fb_in22k",
    "convnext_base": "convnext_base.fb_in22k",
    "convnext_large": "convnext_large.fb_in22k",
    "vit_tiny": "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_small": "vit_small_patch16_224.augreg_in21k_ft_in1k",
    "vit_base": "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "vit_large": "vit_large_patch16_224.augreg_in21k_ft_in1k",
    "swin_tiny": "swin_tiny_patch4_window7_224.ms_in1k",
    "swin_small": "swin_small_patch4_window7_224.ms_in1k",
    "swin_base": "swin_base_patch4_window7_224.ms_in22k_ft_in1k",
    "swin_large": "swin_large_patch4_window7_224.ms_in22k_ft_in1k",
    "swinv2_base": "swinv2_base_window12_192.ms_in22k",
    "swinv2_large": "swinv2_large_window12_192.ms_in22k",
}
# timm's modules under the names competitors write in --weights.
FAMILIES = {
    "vision_transformer": "vit",
    "swin_transformer": "swin",
    "swin_transformer_v2": "swinv2",
}
# Transformers that timm builds for any whole number of patches; position embeddings are resampled.
RESIZABLE = {"vision_transformer", "deit", "beit", "eva"}

logging.getLogger("timm").setLevel(logging.WARNING)


def timm_name(arch: str) -> str:
    """timm's current full name of `arch`: an alias, an old name or any name timm knows."""
    name = ALIASES.get(arch) or registry._deprecated_models.get(arch) or arch
    model, tag = registry.split_model_name_tag(name)
    tags = registry._model_default_cfgs[model].tags if timm.is_model(model) else []
    if not tags or (tag and tag not in tags):
        hint = nearest(arch, list({*ALIASES, *timm.list_models(), *timm.list_pretrained()}))
        hint = hint if hint.startswith("did") else "see timm.list_models() for the names"
        raise UserError(f"unknown architecture {arch!r}; {hint}")
    return name


def _module(arch: str) -> str:
    return registry._model_to_module[registry.split_model_name_tag(timm_name(arch))[0]]


def family(arch: str) -> str:
    """The family timm's registry files `arch` under, for example `vit` or `convnext`."""
    module = _module(arch)
    return FAMILIES.get(module, module)


@cache
def pretrained_cfg(arch: str) -> Any:
    """timm's record of the weights of `arch`: where they are, what images they expect."""
    return timm.get_pretrained_cfg(timm_name(arch))


def stats(arch: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, per channel, that the weights of `arch` expect."""
    return pretrained_cfg(arch).mean, pretrained_cfg(arch).std


def check_arch(variant: Variant) -> None:
    """Refuse an unknown architecture, and a size it cannot take, naming those it can."""
    module, config = _module(variant.arch), pretrained_cfg(variant.arch)
    native = config.input_size[1:]
    resizable = RESIZABLE - {"beit"} if variant.sizes else RESIZABLE  # its size is fixed once built
    for size in split_sizes(variant.sizes) or [variant.size]:
        sides = height_width(size)
        if not config.fixed_input_size:
            fits, can = min(sides) >= 32, "sizes of 32 pixels and more, best in multiples of 32"
        elif module in resizable:
            with torch.device("meta"):
                model = timm.create_model(timm_name(variant.arch), num_classes=0)
            patch = model.patch_embed.patch_size[0]
            fits = all(side % patch == 0 for side in sides)
            can = f"multiples of {patch} (made for {native[0]})"
        else:
            fits, can = sides == tuple(native), f"{native[0]} only"
        if not fits:
            raise UserError(f"size={size} does not fit {variant.arch}; it takes {can}")


def create_kwargs(variant: Variant) -> dict[str, Any]:
    """What `timm.create_model` needs beyond the name: the image size, where it is fixed."""
    kwargs: dict[str, Any] = {}
    if pretrained_cfg(variant.arch).fixed_input_size:
        kwargs["img_size"] = height_width(variant.size)
        if variant.sizes:
            kwargs["dynamic_img_size"] = True
    return kwargs


def parameters(arch: str) -> int:
    """How many weights `arch` has, without a head."""
    with torch.device("meta"):
        model = timm.create_model(timm_name(arch), num_classes=0)
    return sum(weight.numel() for weight in model.parameters())
