"""timm's names, families and sizes, as a variant asks for them."""

import pytest
import timm
import torch
from conftest import refusal
from timm.models import get_deprecated_models

from src.core import load_variants, make_variant
from src.vision import backbone

VARIANTS = load_variants()
# The files that the names of the recipe meant in timm 0.6, with which it was published.
PUBLISHED = {
    "convnext_tiny": "/convnext_tiny_22k_224.pth",
    "convnext_small": "/convnext_small_22k_224.pth",
    "convnext_base": "/convnext_base_22k_224.pth",
    "convnext_large": "/convnext_large_22k_224.pth",
    "vit_tiny": "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    "vit_small": "--imagenet2012-steps_20k-lr_0.03-res_224.npz",
    "vit_base": "--imagenet2012-steps_20k-lr_0.01-res_224.npz",
    "vit_large": "--imagenet2012-steps_20k-lr_0.01-res_224.npz",
    "swin_tiny": "/swin_tiny_patch4_window7_224.pth",
    "swin_small": "/swin_small_patch4_window7_224.pth",
    "swin_base": "/swin_base_patch4_window7_224_22kto1k.pth",
    "swin_large": "/swin_large_patch4_window7_224_22kto1k.pth",
    "swinv2_base": "/swinv2_base_patch4_window12_192_22k.pth",
    "swinv2_large": "/swinv2_large_patch4_window12_192_22k.pth",
}


# names


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        # aliases
        ("vit_small", "vit_small_patch16_224.augreg_in21k_ft_in1k"),
        ("convnext_small", "convnext_small.fb_in22k"),
        ("swinv2_base", "swinv2_base_window12_192.ms_in22k"),
        # any timm name, with or without its tag
        ("resnet26d", "resnet26d"),
        ("convnext_large.fb_in22k_ft_in1k", "convnext_large.fb_in22k_ft_in1k"),
        ("test_vit", "test_vit"),
        # old names
        ("convnext_large_in22k", "convnext_large.fb_in22k"),
        ("swinv2_large_window12_192_22k", "swinv2_large_window12_192.ms_in22k"),
        ("vit_base_patch16_224_in21k", "vit_base_patch16_224.augreg_in21k"),
    ],
)
def test_aliases_old_names_and_timm_names_are_known(arch, name):
    assert backbone.timm_name(arch) == name


@pytest.mark.parametrize("arch", sorted({*backbone.ALIASES, *(v.arch for v in VARIANTS.values())}))
def test_every_alias_and_row_names_a_current_model_of_timm_with_weights(arch):
    name = backbone.timm_name(arch)
    assert name.split(".")[0] not in get_deprecated_models()
    assert timm.is_model_pretrained(name)
    cfg = timm.get_pretrained_cfg(name)
    assert cfg.hf_hub_id or cfg.url


@pytest.mark.parametrize("alias", backbone.ALIASES)
def test_every_alias_gives_its_tag_and_begins_with_its_family(alias):
    assert "." in backbone.ALIASES[alias]  # else a later timm could choose other weights
    assert backbone.family(alias) == alias.split("_")[0]


def test_every_family_with_another_name_is_a_module_of_timm():
    assert backbone.FAMILIES.keys() <= set(timm.list_modules())


@pytest.mark.parametrize("arch", backbone.ALIASES)
def test_every_alias_has_the_weights_of_the_published_recipe(arch):
    assert timm.get_pretrained_cfg(backbone.timm_name(arch)).url.endswith(PUBLISHED[arch])


@pytest.mark.parametrize(
    ("arch", "nearest"),
    [
        ("vit_smal", "'vit_small'"),
        ("convnext_smol", "'convnext_small'"),
        ("resnet_50", "'resnet50'"),
        ("swinv2_base_window12_193", "'swinv2_base_window12_192'"),
        ("convnext_small.fb_in23k", "'convnext_small.fb_in22k'"),  # a tag that timm does not have
    ],
)
def test_unknown_name_is_refused_with_the_nearest(arch, nearest):
    line = refusal(backbone.timm_name, arch)
    assert line.startswith(f"unknown architecture {arch!r}; did you mean ")
    assert nearest in line


def test_no_name_is_suggested_twice():
    names = refusal(backbone.timm_name, "convnext_smol").split("did you mean ")[1].split(" or ")
    assert len(names) == len({name.strip("?") for name in names}) > 1


@pytest.mark.parametrize("arch", ["zzz", "", "hf_hub:timm/resnet18"])
def test_name_like_no_other_is_told_where_the_names_are(arch):
    assert "timm.list_models()" in refusal(backbone.timm_name, arch)


# families


@pytest.mark.parametrize(
    ("arch", "family"),
    [
        ("vit_small", "vit"),
        ("vit_base_patch16_224.augreg_in1k", "vit"),
        ("test_vit", "vit"),
        ("swin_small", "swin"),
        ("swinv2_base", "swinv2"),  # "swin" by its text, another module in timm
        ("swinv2_cr_small_224", "swin_transformer_v2_cr"),
        ("convnext_small", "convnext"),
        ("convnextv2_tiny", "convnext"),
        ("test_convnext", "convnext"),
        ("resnet50", "resnet"),
        ("wide_resnet50_2", "resnet"),  # the text before the underscore is "wide"
        ("test_resnet", "resnet"),
    ],
)
def test_family_is_what_the_registry_says(arch, family):
    assert backbone.family(arch) == family


# sizes


@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_of_params_yaml_is_known_to_timm_and_fits_its_size(name):
    backbone.check_arch(VARIANTS[name])


@pytest.mark.parametrize(
    ("arch", "size", "can"),
    [
        ("vit_small", 225, "multiples of 16 (made for 224)"),
        ("vit_small", "288x230", "multiples of 16"),
        ("swinv2_base", 224, "192 only"),
        ("swinv2_base", "192x224", "192 only"),
        ("swin_small", 256, "224 only"),
        ("convnext_small", 31, "32 pixels and more"),
        ("test_resnet", "64x16", "32 pixels and more"),
    ],
)
def test_size_that_does_not_fit_is_refused_with_those_that_do(arch, size, can):
    line = refusal(backbone.check_arch, make_variant(arch=arch, size=size))
    assert line.startswith(f"size={size} does not fit {arch}; it takes ") and can in line


@pytest.mark.parametrize(
    ("arch", "size"),
    [
        ("test_vit", 32),
        ("test_vit", "64x48"),
        ("test_convnext", "96x64"),
        ("test_resnet", 50),
        ("vit_tiny", "288x224"),
        ("swinv2_tiny_window8_256", 256),
        ("swin_tiny", 224),
    ],
)
def test_size_that_is_accepted_really_passes_the_network(arch, size):
    variant = make_variant(arch=arch, size=size, pretrained=False)
    backbone.check_arch(variant)
    height, width = backbone.height_width(size)
    with torch.device("meta"):  # shapes alone: no weights, no time
        kwargs = backbone.create_kwargs(variant)
        model = timm.create_model(backbone.timm_name(arch), num_classes=0, **kwargs)
        out = model.eval()(torch.zeros(2, 3, height, width))
    assert out.shape == (2, model.num_features)


@pytest.mark.parametrize(
    ("arch", "sizes", "told"),
    [
        ("vit_small", "120,224", "size=120 does not fit vit_small; it takes multiples of 16"),
        ("swin_small", "128,224", "size=128 does not fit swin_small; it takes 224 only"),
        ("convnext_small", "16,224", "size=16 does not fit convnext_small; it takes sizes of 32"),
        ("beit_base_patch16_224", "128,224", "size=128 does not fit beit_base_patch16_224"),
    ],
)
def test_every_size_to_grow_through_must_fit(arch, sizes, told):
    line = refusal(backbone.check_arch, make_variant(arch=arch, size=224, sizes=sizes))
    assert line.startswith(told)


@pytest.mark.parametrize(
    "arch", ["test_vit", "test_resnet", "deit_tiny_patch16_224", "eva02_tiny_patch14_224"]
)
def test_one_network_takes_all_sizes_to_grow_through(arch):
    variant = make_variant(arch=arch, size=224, sizes="112,112x224,224", pretrained=False)
    backbone.check_arch(variant)
    with torch.device("meta"):
        kwargs = backbone.create_kwargs(variant)
        model = timm.create_model(backbone.timm_name(arch), num_classes=0, **kwargs).eval()
        for sides in ((112, 112), (112, 224), (224, 224)):
            assert model(torch.zeros(2, 3, *sides)).shape == (2, model.num_features)


def test_statistics_are_those_of_the_weights():
    half, imagenet = (0.5, 0.5, 0.5), (0.485, 0.456, 0.406)
    assert backbone.stats("vit_small") == (half, half)
    assert backbone.stats("convnext_small")[0] == imagenet
