"""One schema for a variant: the dataclass, the parameters cell and the rows of params.yaml."""

import ast
from dataclasses import FrozenInstanceError, fields

import papermill
import pytest
from conftest import ROOT, TRAIN, refusal

from src.core import PLACES, ROWS, Variant, height_width, load_params, load_variants, make_variant

FIELDS = {field.name: field.type for field in fields(Variant)}
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_parameters_cell_and_params_yaml_have_the_fields_their_types_and_the_same_defaults():
    cell = papermill.inspect_notebook(str(TRAIN))
    assert list(cell) == [*FIELDS, *PLACES]
    hints = {name: str(getattr(kind, "__name__", kind)).replace("|", "or")
             for name, kind in FIELDS.items()} | dict.fromkeys(PLACES, "str")
    hints["overwrite"] = "bool"
    assert {name: facts["inferred_type_name"] for name, facts in cell.items()} == hints
    defaults = {name: ast.literal_eval(cell[name]["default"]) for name in FIELDS}
    given = load_params()["train"] | load_params()["predict"]
    assert {name: (type(value), value) for name, value in given.items()} == {
        name: (type(value), value) for name, value in defaults.items()}
    assert make_variant().recipe == defaults


def test_variant_is_frozen():
    with pytest.raises(FrozenInstanceError):
        make_variant().arch = "vit_large"


def test_every_key_of_params_yaml_is_the_name_its_row_derives():
    variants = load_variants()
    assert [variant.name for variant in variants.values()] == list(variants)
    assert list(variants) == [key for section in ROWS for key in load_params()[section]]
    assert not any("." in key for key in variants), "DVC reads dots as paths"
    demo = [variants[key] for key in load_params()["demo"]]
    assert {row.resize for row in demo} == {"squish", "crop", "pad"}
    assert all(row.pretrained is True for row in demo)


@pytest.mark.parametrize("arch", [
    "convnext_small", "convnext_large", "vit_small", "vit_large", "swin_small", "swin_large",
    "swinv2_base", "swinv2_large",
])  # fmt: skip
@pytest.mark.parametrize(("section", "recipe"), [
    ("variants", (12, 0.01, "family", 32, 0.35, True, "fast", True)),
    ("published", (12, 0.01, 100, 64, 0.75, False, "fastai", True)),
])  # fmt: skip
def test_published_rows_are_in_the_table_by_both_recipes(arch, section, recipe):
    rows = [make_variant(**row) for row in load_params()[section].values()]
    rows = [row for row in rows if row.arch == arch]
    size = 192 if arch.startswith("swinv2") else 224
    published = {("squish", 480, size), ("crop", 480, size), ("pad", 640, size)}
    if arch.startswith("convnext"):
        published |= {("rect", "640x480", "288x224"), ("rect", "640x480", "320x240")}
    assert {(row.resize, row.item_size, row.size) for row in rows} >= published
    fields = "epochs", "lr", "lr_mult", "bs", "min_scale", "flip_vert", "augment", "pretrained"
    assert {tuple(getattr(row, field) for field in fields) for row in rows} == {recipe}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("vit_small_squish_224:", "vit_small:", "'vit_small' describes 'vit_small_squish_224'"),
        ("{arch: vit_small, resize: pad,", "{arch: vit_small, resiz: pad,",
         "row 'vit_small_pad_224': unknown parameter 'resiz'"),
    ],
)
def test_a_mistake_in_a_row_is_refused_with_its_row(own_params, old, new, message):
    own_params(PARAMS.replace(old, new))
    assert message in refusal(load_variants)


def test_all_rows_with_a_mistake_are_named_at_once(own_params):
    wrong = PARAMS.replace("vit_small_squish_224:", "vit_small:")
    own_params(wrong.replace("{arch: vit_small, resize: pad,", "{arch: vit_small, resiz: pad,"))
    said = refusal(load_variants)
    assert "'vit_small' describes" in said and "row 'vit_small_pad_224': unknown" in said


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"arch": "vit_small", "resize": "pad", "item_size": 640}, "vit_small_pad_224"),
        ({"resize": "rect", "item_size": "640x480", "size": "288x224"},
         "convnext_small_rect_288x224"),
        # timm's dots would break file stems and dvc
        ({"arch": "vit_small_patch16_224.augreg_in1k"},
         "vit_small_patch16_224_augreg_in1k_squish_224"),
        # only what is unusual shows
        ({"fold": 1, "seed": 7, "desc": "long"}, "convnext_small_long_fold1_seed7"),
        ({"fold": "all"}, "convnext_small_squish_224_all"),
        ({"split": "grouped", "fold": 3}, "convnext_small_squish_224_grouped_fold3"),
    ],
)
def test_name_is_derived_from_the_facts(changes, name):
    assert make_variant(**changes).name == name


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("size", "224", 224), ("size", "224x224", 224), ("size", "288X224", "288x224"),
        ("sizes", "128, 224x224", "128,224"), ("sizes", 224, "224"), ("sizes", "", ""),
        ("sizes", "160x128,224", "160x128,224"),
        ("pretrained", "true", True), ("pretrained", "False", False),
        ("pretrained", "w.pth", "w.pth"),
    ],
)  # fmt: skip
def test_values_are_stored_in_one_form(name, given, stored):
    assert getattr(make_variant(**{name: given}), name) == stored


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [({}, 12), ({"schedule": "one_cycle", "epochs": 5}, 5), ({"schedule": "sgdr"}, 1 + 2 + 4),
     ({"schedule": "sgdr", "cycles": 4, "cycle_len": 3, "cycle_mult": 1}, 12)],
)
def test_sgdr_has_the_epochs_of_its_cycles(changes, epochs):
    assert make_variant(**changes).scheduled == epochs


def test_height_comes_first():
    assert (height_width("288x224"), height_width(224)) == ((288, 224), (224, 224))
