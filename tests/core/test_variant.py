"""One schema for a variant: the dataclass, the parameters cell and the rows of params.yaml."""

import ast
from dataclasses import FrozenInstanceError, fields

import papermill
import pytest
from conftest import ROOT

from src.core import (
    PLACES,
    UserError,
    Variant,
    height_width,
    load_params,
    load_variants,
    make_variant,
)

TRAIN = ROOT / "notebooks" / "paddy_train.ipynb"
FIELDS = [field.name for field in fields(Variant)]


@pytest.fixture
def cell():
    """name → default of the parameters cell of the training notebook."""
    found = papermill.inspect_notebook(str(TRAIN))
    return {name: ast.literal_eval(facts["default"]) for name, facts in found.items()}


# the three views of the schema


def test_parameters_cell_has_the_fields_of_a_variant_and_the_places(cell):
    assert list(cell) == [*FIELDS, *PLACES]


def test_defaults_and_their_types_are_the_same_in_cell_and_params_yaml(cell):
    defaults = [*load_params()["train"].items(), *load_params()["predict"].items()]
    typed = sorted((name, type(value), value) for name, value in defaults)
    assert sorted((name, type(cell[name]), cell[name]) for name in FIELDS) == typed


def test_defaults_have_the_types_of_the_fields(cell):
    wrong = [field.name for field in fields(Variant)
             if not isinstance(cell[field.name], field.type)]
    assert wrong == []


def test_papermills_help_tells_the_types_of_the_fields():
    told = {name: facts["inferred_type_name"]
            for name, facts in papermill.inspect_notebook(str(TRAIN)).items()}
    types = {field.name: str(getattr(field.type, "__name__", field.type)).replace("|", "or")
             for field in fields(Variant)}
    assert told == types | {name: "bool" if name == "overwrite" else "str" for name in PLACES}


def test_default_variant_is_the_one_of_the_cell(cell):
    assert make_variant() == Variant(**{name: cell[name] for name in FIELDS})


def test_variant_is_frozen_and_its_recipe_makes_it_again():
    variant = make_variant(arch="vit_small")
    with pytest.raises(FrozenInstanceError):
        variant.arch = "vit_large"
    assert Variant(**variant.recipe) == variant


# the table


def test_every_key_of_params_yaml_is_the_name_its_row_derives():
    assert {key: variant.name for key, variant in load_variants().items()} == {
        key: key for key in [*load_params()["variants"], *load_params()["demo"]]
    }


def test_no_key_has_a_dot_which_would_break_dvc():
    assert [key for key in load_variants() if "." in key] == []


def test_demo_rows_are_the_three_tiny_models_from_random_weights():
    rows = [make_variant(**row) for row in load_params()["demo"].values()]
    assert [row.arch for row in rows] == ["test_convnext", "test_vit", "test_resnet"]
    assert not any(row.pretrained for row in rows)


@pytest.mark.parametrize("arch", ["convnext_{}", "vit_{}", "swin_{}", "swinv2_{}"])
@pytest.mark.parametrize("extent", ["small", "large"])
def test_published_recipe_is_in_the_table(arch, extent):
    small = "base" if arch == "swinv2_{}" else "small"  # timm has no small swinv2 at 192
    wanted = arch.format(small if extent == "small" else "large")
    rows = [make_variant(**row) for row in load_params()["variants"].values()]
    rows = [row for row in rows if row.arch == wanted]
    seen = {(row.resize, row.item_size, row.size) for row in rows}
    size = 192 if arch == "swinv2_{}" else 224
    assert seen >= {("squish", 480, size), ("crop", 480, size), ("pad", 640, size)}
    rectangles = {("rect", "640x480", "288x224"), ("rect", "640x480", "320x240")}
    assert rectangles <= seen or not wanted.startswith("convnext")
    shared = {(row.epochs, row.lr, row.bs, row.min_scale, row.pretrained) for row in rows}
    assert shared == {(12, 0.01, 64, 0.75, True)}


def test_row_under_another_key_is_refused_with_the_right_one(own_params):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    own_params(text.replace("  vit_small_squish_224:", "  vit_small:"))
    with pytest.raises(UserError, match="row 'vit_small' describes 'vit_small_squish_224'"):
        load_variants()


def test_a_mistake_in_a_row_is_told_with_its_row(own_params):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    own_params(text.replace("{arch: vit_small, resize: pad,", "{arch: vit_small, resiz: pad,"))
    with pytest.raises(UserError, match="row 'vit_small_pad_224': unknown parameter 'resiz'"):
        load_variants()


# names


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "convnext_small_squish_224"),
        ({"arch": "vit_small", "resize": "pad", "item_size": 640}, "vit_small_pad_224"),
        ({"resize": "rect", "item_size": "640x480", "size": "288x224"},
         "convnext_small_rect_288x224"),
        # timm's dots would break file stems and dvc
        ({"arch": "vit_small_patch16_224.augreg_in1k"},
         "vit_small_patch16_224_augreg_in1k_squish_224"),
        ({"desc": "long"}, "convnext_small_long"),
        # only what is unusual shows
        ({"fold": 3}, "convnext_small_squish_224_fold3"),
        ({"seed": 7}, "convnext_small_squish_224_seed7"),
        ({"fold": 1, "seed": 7, "desc": "long"}, "convnext_small_long_fold1_seed7"),
        ({"fold": "all"}, "convnext_small_squish_224_all"),
        ({"split": "grouped"}, "convnext_small_squish_224_grouped"),
        ({"split": "grouped", "fold": 3}, "convnext_small_squish_224_grouped_fold3"),
    ],
)
def test_name_is_derived_from_the_facts(changes, name):
    assert make_variant(**changes).name == name


@pytest.mark.parametrize(
    ("given", "kept"),
    [(224, 224), ("224", 224), ("224x224", 224), ("288x224", "288x224"), ("288X224", "288x224")],
)
def test_sizes_are_height_by_width_and_written_one_way(given, kept):
    assert make_variant(size=given).size == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [("128,192,224", "128,192,224"), ("128, 224x224", "128,224"), (224, "224"), ("", ""),
     ("160x128,224", "160x128,224")],
)
def test_sizes_to_grow_through_are_written_one_way(given, kept):
    assert make_variant(sizes=given).sizes == kept


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [({}, 12), ({"schedule": "one_cycle", "epochs": 5}, 5), ({"schedule": "sgdr"}, 1 + 2 + 4),
     ({"schedule": "sgdr", "cycles": 4, "cycle_len": 3, "cycle_mult": 1}, 12)],
)
def test_sgdr_has_the_epochs_of_its_cycles(changes, epochs):
    assert make_variant(**changes).scheduled == epochs


def test_height_comes_first():
    assert height_width("288x224") == (288, 224)
    assert height_width(224) == (224, 224)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("true", True), ("True", True), ("false", False), (False, False), ("w.pth", "w.pth")],
)
def test_pretrained_takes_yes_no_or_a_path_as_the_command_line_passes_them(given, kept):
    assert make_variant(pretrained=given).pretrained == kept
