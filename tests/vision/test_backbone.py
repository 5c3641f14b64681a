"""timm's names, families and sizes for the architectures of variants."""

import pytest
import timm
import torch
from conftest import refusal
from timm.models import get_deprecated_models

from src.core import height_width, load_variants, make_variant
from src.vision import backbone

VARIANTS = load_variants()
# The files that the names of the recipe meant in timm 0.6, with which it was published.
PUBLISHED = {
    "_22k_224.pth": ["convnext_tiny", "convnext_small", "convnext_base", "convnext_large"],
    "--imagenet2012-steps_20k-lr_0.03-res_224.npz": ["vit_tiny", "vit_small"],
    "--imagenet2012-steps_20k-lr_0.01-res_224.npz": ["vit_base", "vit_large"],
    "_patch4_window7_224.pth": ["swin_tiny", "swin_small"],
    "_patch4_window7_224_22kto1k.pth": ["swin_base", "swin_large"],
    "_patch4_window12_192_22k.pth": ["swinv2_base", "swinv2_large"],
}


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("resnet26d", "resnet26d"),
        ("convnext_large.fb_in22k_ft_in1k", "convnext_large.fb_in22k_ft_in1k"),
        ("convnext_large_in22k", "convnext_large.fb_in22k"),  # an old name
    ],
)
def test_old_names_and_timm_names_are_known(arch, name):
    assert backbone.timm_name(arch) == name


@pytest.mark.parametrize("alias", backbone.ALIASES)
def test_every_alias_has_the_weights_of_the_published_recipe(alias):
    name = backbone.timm_name(alias)
    assert "." in name  # without a tag a later timm could choose other weights
    assert name.split(".")[0] not in get_deprecated_models()
    (end,) = [end for end, aliases in PUBLISHED.items() if alias in aliases]
    assert timm.get_pretrained_cfg(name).url.endswith(end)
    assert timm.get_pretrained_cfg(name).hf_hub_id
    assert backbone.family(alias) == alias.split("_")[0]


@pytest.mark.parametrize(
    ("arch", "nearest"),
    [
        ("vit_smal", "'vit_small'"),
        ("resnet_50", "'resnet50'"),
        ("convnext_small.fb_in23k", "'convnext_small.fb_in22k'"),  # a tag that timm does not have
        ("", "timm.list_models()"),
        ("hf_hub:timm/resnet18", "timm.list_models()"),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(arch, nearest):
    line = refusal(backbone.timm_name, arch)
    assert line.startswith(f"unknown architecture {arch!r}; ") and line.count(nearest) == 1


@pytest.mark.parametrize(
    ("arch", "family"),
    [
        ("vit_base_patch16_224.augreg_in1k", "vit"),
        ("swinv2_cr_small_224", "swin_transformer_v2_cr"),  # another module than swinv2's
        ("wide_resnet50_2", "resnet"),  # the text before the underscore is "wide"
    ],
)
def test_family_is_that_of_the_registry(arch, family):
    assert backbone.family(arch) == family


@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_of_params_yaml_is_known_to_timm_and_fits_its_size(name):
    backbone.check_arch(VARIANTS[name])
    assert timm.is_model_pretrained(backbone.timm_name(VARIANTS[name].arch))


@pytest.mark.parametrize(
    ("arch", "size", "sizes", "wrong", "can"),
    [
        ("vit_small", "288x230", "", "288x230", "multiples of 16 (made for 224)"),
        ("vit_small", 224, "120,224", 120, "multiples of 16 (made for 224)"),
        ("swinv2_base", 224, "", 224, "192 only"),
        ("swinv2_base", "192x224", "", "192x224", "192 only"),
        ("convnext_small", 31, "", 31, "sizes of 32 pixels and more"),
        ("test_resnet", "64x16", "", "64x16", "sizes of 32 pixels and more"),
        ("beit_base_patch16_224", 224, "128,224", 128, "224 only"),
    ],
)
def test_size_that_does_not_fit_is_refused_with_those_that_do(arch, size, sizes, wrong, can):
    variant = make_variant(arch=arch, size=size, sizes=sizes)
    line = refusal(backbone.check_arch, variant)
    assert line.startswith(f"size={wrong} does not fit {arch}; it takes {can}")


@pytest.mark.parametrize(
    ("arch", "size", "sizes"),
    [
        ("test_convnext", "96x64", ""),
        ("test_resnet", 50, ""),
        ("vit_tiny", "288x224", ""),
        ("swinv2_tiny_window8_256", 256, ""),
        ("beit_base_patch16_224", 192, ""),
        ("test_vit", 224, "112,112x224,224"),
        ("deit_tiny_patch16_224", 224, "112,112x224,224"),
        ("eva02_tiny_patch14_224", 224, "112,112x224,224"),
    ],
)
def test_sizes_that_are_accepted_really_pass_the_network(arch, size, sizes):
    variant = make_variant(arch=arch, size=size, sizes=sizes, pretrained=False)
    backbone.check_arch(variant)
    with torch.device("meta"):  # shapes alone: no weights, no time
        kwargs = backbone.create_kwargs(variant)
        model = timm.create_model(backbone.timm_name(arch), num_classes=0, **kwargs).eval()
        for one in sizes.split(",") if sizes else [size]:
            out = model(torch.zeros(2, 3, *height_width(one)))
            assert out.shape == (2, model.num_features)


def test_statistics_are_those_of_the_weights():
    half, imagenet = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
    assert backbone.stats("vit_small") == (half, half)
    assert backbone.stats("convnext_small")[0] == imagenet
