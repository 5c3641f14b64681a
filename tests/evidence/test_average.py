"""Tables of several models: joined by image and class, averaged with weights."""

import numpy as np
import pandas as pd
import pytest
from small_tables import PLAIN, VIEWS, probs_of

from src.core import UserError
from src.evidence import average, join


def test_shuffled_rows_and_reversed_columns_change_nothing():
    other = probs_of({"1.jpg": 0.1, "2.jpg": 0.9})
    straight = average([PLAIN, other])
    pd.testing.assert_frame_equal(average([PLAIN, other.iloc[::-1, ::-1]]), straight)


def test_join_gives_every_table_the_order_of_the_first():
    joined = join([PLAIN, VIEWS.iloc[::-1, ::-1]])
    pd.testing.assert_frame_equal(joined[1], VIEWS)


def test_different_images_and_classes_are_refused_by_name():
    fewer = probs_of({"1.jpg": 0.5}, model="swin")
    with pytest.raises(UserError, match=r"table 1 and swin have different images: 1 .*2\.jpg"):
        join([PLAIN, fewer])
    other = probs_of({"1.jpg": 0.5, "3.jpg": 0.5})
    with pytest.raises(UserError, match=r"1 only in the first, 1 only in the second \(2\.jpg, 3"):
        average([PLAIN, other])
    with pytest.raises(UserError, match="different classes: .*normal, hispa"):
        join([PLAIN, PLAIN.set_axis(["blast", "hispa"], axis=1)])


def test_the_average_is_the_weighted_mean_worked_by_hand():
    third = probs_of({"1.jpg": 0.0, "2.jpg": 1.0})
    assert average([PLAIN, third]).loc["1.jpg", "blast"] == pytest.approx(0.375)
    # (3 × 0.75 + 1 × 0) / 4
    assert average([PLAIN, third], [3, 1]).loc["1.jpg", "blast"] == pytest.approx(0.5625)


def test_weight_two_equals_listing_a_table_twice():
    other = probs_of({"1.jpg": 0.1, "2.jpg": 0.3})
    for geometric in (False, True):
        twice = average([PLAIN, PLAIN, other], geometric=geometric)
        weighted = average([PLAIN, other], [2, 1], geometric)
        pd.testing.assert_frame_equal(weighted, twice, rtol=1e-12)


def test_no_weights_are_equal_weights():
    other = probs_of({"1.jpg": 0.1, "2.jpg": 0.3})
    pd.testing.assert_frame_equal(average([PLAIN, other]), average([PLAIN, other], [5, 5]))


def test_the_geometric_mean_is_renormalised():
    one, two = probs_of({"1.jpg": 0.8}), probs_of({"1.jpg": 0.2})
    # sqrt(0.8 × 0.2) for both classes: they share the whole equally
    assert average([one, two], geometric=True).loc["1.jpg", "blast"] == pytest.approx(0.5)
    one, two = probs_of({"1.jpg": 0.9}), probs_of({"1.jpg": 0.5})
    # sqrt(0.45) : sqrt(0.05) = 3 : 1
    assert average([one, two], geometric=True).loc["1.jpg", "blast"] == pytest.approx(0.75)


def test_one_exact_zero_does_not_make_the_geometric_mean_undefined():
    mean = average([probs_of({"1.jpg": 0.0}), probs_of({"1.jpg": 1.0})], geometric=True)
    assert mean.loc["1.jpg", "blast"] == pytest.approx(0.5)


def test_weights_by_name_find_their_table_and_leave_the_others_at_one():
    third = probs_of({"1.jpg": 0.0, "2.jpg": 1.0}, model="swin")
    by_name = average([PLAIN, third], {"swin": 3})
    pd.testing.assert_frame_equal(by_name, average([PLAIN, third], [1, 3]))
    tables = {"vit": PLAIN, "swin": third}
    pd.testing.assert_frame_equal(average(tables, {"swin": 3}), by_name)


def test_weights_that_fit_no_table_are_refused():
    with pytest.raises(UserError, match="no model 'vitt' to weigh; did you mean 'vit'"):
        average({"vit": PLAIN}, {"vitt": 2})
    with pytest.raises(UserError, match="3 weights for 2 models"):
        average([PLAIN, VIEWS], [1, 1, 1])
    for weights in ([0, 0], [1, -1], [np.nan, 1]):
        with pytest.raises(UserError, match="must be 0 or more and not all 0"):
            average([PLAIN, VIEWS], weights)
    with pytest.raises(UserError, match="nothing to average"):
        average([])
