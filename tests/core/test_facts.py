"""The section `competition` of params.yaml: complete and right, or refused in one line."""

import pytest
import yaml
from conftest import ROOT, refusal

from src.core import load_facts

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def test_the_values_that_ship_are_those_of_paddy():
    facts = load_facts()
    assert (facts.slug, facts.images, facts.classes) == ("paddy-disease-classification", 13_876, 10)
    assert (facts.columns, facts.other) == (["image_id", "label"], ("variety", "age"))
    assert facts.layout == ("train.csv", "train_images", "test_images", "sample_submission.csv")
    assert (facts.public, facts.private) == (2_601, 868)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (SHIPPED["competition"] | change, message) for change, message in [
            ({"sufix": ".jpg"}, "unknown parameter 'sufix'; did you mean 'suffix'?"),
            ({"slug": 3}, "slug=3 must be text"),
            ({"slug": "https://kaggle.com/c/paddy"}, "slug='https://kaggle.com/c/paddy'"),
            ({"images": "many"}, "images='many' must be a whole number"),
            ({"public": True}, "public=True must be a whole number"),
            ({"private": -1}, "private must be 0 (not known) or more"),
            ({"class_folders": "no"}, "class_folders='no' must be true/false"),
            ({"other": "variety"}, "other='variety' must be a list"),
            ({"other": ["breed"]}, "variety and age"),
            ({"label": " "}, "label must not be empty"),
            ({"label": "image_id"}, "two columns"),
            ({"test": "train_images"}, "two folders"),
            ({"metric": "log_loss"}, "metric='log_loss' is not supported"),
        ]
    ] + [({"slug": "a"}, "table, id, label, other"), (None, "slug, table"), ("a", "slug")],
)  # fmt: skip
def test_a_wrong_or_missing_fact_is_refused_by_name(own_params, section, message):
    own_params(yaml.safe_dump(SHIPPED | {"competition": section}))
    line = refusal(load_facts)
    assert line.startswith("params.yaml, competition: ") and message in line
