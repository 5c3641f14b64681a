"""Finished for this recipe, predicted by this model: what is on disk is used, refused or made."""

import pytest
from small_bundles import bundle_in, variant_in

from src import bundle, competition
from src.core import UserError, make_variant

RECIPE = {"arch": "test_vit", "epochs": 3, "lr": 0.02, "tta": "none"}


@pytest.fixture
def models(tmp_path, data):
    """A folder with one bundle, of `RECIPE`."""
    variant_in(tmp_path, data, **RECIPE)
    return tmp_path


@pytest.fixture
def images(data) -> str:
    return competition.train_fingerprint(data)


def test_the_same_recipe_is_finished_and_another_of_its_name_refused(models, images):
    variant = make_variant(**RECIPE)
    assert bundle.is_done(variant, models, images)
    assert not bundle.is_done(make_variant(**RECIPE, desc="else"), models, images)
    longer = make_variant(**RECIPE | {"epochs": 5, "lr": 0.03})
    with pytest.raises(UserError, match="epochs 3 → 5, lr 0.02 → 0.03.*desc NAME.*overwrite true"):
        bundle.is_done(longer, models, images)
    with pytest.raises(UserError, match="another recipe .data"):
        bundle.is_done(variant, models, "0" * 64)
    assert not bundle.is_done(longer, models, images, overwrite=True)


def test_other_settings_of_tta_need_no_training_and_the_command_is_named(models, images):
    other = make_variant(**RECIPE | {"views": 8, "beta": 0.2})
    with pytest.raises(UserError, match=f"src.predict {other.name} --views 8 --beta 0.2"):
        bundle.is_done(other, models, images)
    with pytest.raises(UserError, match="another recipe .lr 0.02 → 0.03, views"):
        bundle.is_done(make_variant(**RECIPE | {"views": 8, "lr": 0.03}), models, images)


def test_an_older_card_lacks_fields_and_was_trained_without_them(models, images):
    card = bundle.read_card(models, make_variant(**RECIPE).name)
    for name in ("split", "flip_vert", "augment", "lr_mult"):
        del card["variant"][name]
    bundle.write_card(models, card)
    older = RECIPE | {"flip_vert": False, "augment": "fastai", "lr_mult": 100}
    assert bundle.is_done(make_variant(**older), models, images)
    with pytest.raises(UserError, match="another recipe .flip_vert False → True"):
        bundle.is_done(make_variant(**older | {"flip_vert": True}), models, images)


def test_predictions_are_stale_when_missing_or_by_another_model_or_of_other_images(tmp_path, data):
    card, images = bundle_in(tmp_path, data, "vit"), competition.test_fingerprint(data)
    assert bundle.stale(tmp_path, card, images) == []
    assert bundle.stale(tmp_path, card, "0" * 64) == ["test"]
    assert bundle.stale(tmp_path, card | {"held_out": "0" * 64}, images) == ["valid"]
    assert bundle.stale(tmp_path, card | {"sha256": "0" * 64}, images) == ["valid", "test"]
    bundle.probs_path(tmp_path, "vit", "valid").unlink()
    assert bundle.stale(tmp_path, card, images) == ["valid"]
    nothing_held_out = card | {"holdout": bundle.holdout_counts(0, 0, 0)}
    assert bundle.stale(tmp_path, nothing_held_out, images) == []


def test_predictions_are_read_of_any_test_images_or_only_of_those_named(tmp_path, data):
    card = bundle_in(tmp_path, data, "vit")
    assert list(bundle.read_predictions(tmp_path, card, "test")) == ["plain"]
    with pytest.raises(UserError, match="stale, made with another images"):
        bundle.read_predictions(tmp_path, card, "test", "0" * 64)
    with pytest.raises(UserError, match="stale, made with another sha256"):
        bundle.read_predictions(tmp_path, card | {"sha256": "0" * 64}, "valid")
