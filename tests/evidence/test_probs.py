"""The probability table: what travels in the file, what is refused, how tables are averaged."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import refusal
from small_bundles import spoil
from small_tables import PLAIN, VIEWS, probs_of

from src.core import ROOT, UserError
from src.evidence import average, blend, check_probs, is_fresh, join, read_probs, write_probs

META = {
    "split": "test",
    "model": "vit_small_squish_224",
    "sha256": "ab" * 32,
    "tta": {"tta": "random", "crops": (224, 288)},  # JSON: a list
    "images": "f00d",
}


@pytest.fixture
def path(tmp_path):
    """A file with a plain view and the mean of the augmented ones, stored in another order."""
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN.astype(np.float64), VIEWS.iloc[::-1, ::-1], META)
    return path


# The file


def test_what_is_written_is_read_back_with_its_labels(path):
    tables, meta = read_probs(path, META)
    pd.testing.assert_frame_equal(tables["plain"], PLAIN)
    pd.testing.assert_frame_equal(tables["views"], VIEWS)
    assert meta == json.loads(json.dumps({"kind": "probability", **META}))
    assert list(path.parent.iterdir()) == [path]
    table = pd.read_parquet(path)  # by any other program
    assert table.index.names == ["view", "image_id"]
    assert set(table.dtypes.astype(str)) == {"float32"}
    assert json.loads(pq.read_schema(path).metadata[b"paddy"]) == meta


def test_the_blend_is_a_quarter_plain_and_three_quarters_views(path):
    blended = blend({"plain": PLAIN, "views": VIEWS.iloc[::-1]}, 0.25)
    # 0.75 × 0.25 + 0.25 × 0.75 and 0.75 × 0.125 + 0.25 × 0.5, by hand
    assert blended.loc["1.jpg", "blast"] == 0.375
    assert blended.loc["2.jpg", "blast"] == 0.21875
    assert (blended.sum(axis=1) == 1).all()
    write_probs(path, PLAIN, None, META)  # without TTA
    pd.testing.assert_frame_equal(blend(read_probs(path)[0], 0.25), PLAIN)


@pytest.mark.parametrize(("key", "other"), [("sha256", "cd" * 32), ("tta", {"tta": "none"})])
def test_a_stale_file_is_refused_and_the_remedy_named(path, key, other):
    assert is_fresh(path, META)
    with pytest.raises(UserError, match=f"stale, made with another {key}; delete it, then run"):
        read_probs(path, META | {key: other})
    assert not is_fresh(path, META | {key: other})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Path.unlink, "is missing; run python -m src.ensemble to predict it"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "is no parquet file; delete it"),
        (lambda path: path.write_bytes(b""), "is no parquet file; delete it"),
        (PLAIN.to_parquet, "does not say which model"),
        (lambda path: write_probs(path, PLAIN, None, {"model": "m"}), "does not say which model"),
        (lambda path: write_probs(path, PLAIN, None, META | {"kind": "logit"}), "holds logit"),
    ],
)
def test_a_missing_damaged_or_foreign_file_is_refused(path, change, message):
    change(path)
    assert message in refusal(read_probs, path)
    assert not is_fresh(path, {})
    assert "train this model again" in refusal(read_probs, path.with_name("a.valid.parquet"))


def test_a_write_that_fails_leaves_the_old_file(path, monkeypatch):
    def fail(table, place, **settings):
        Path(place).write_bytes(b"half a file")
        raise OSError("no space left")

    before = path.read_bytes()
    monkeypatch.setattr(pq, "write_table", fail)
    assert f"cannot write {path}" in refusal(write_probs, path, PLAIN, VIEWS, META)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_importing_this_loads_neither_torch_nor_the_slow_part_of_scipy():
    code = "import sys, src.evidence; sys.exit(bool({'torch', 'scipy.stats'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# What is a probability


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, 0.5], [np.nan, 1.0]], "1 images .* first 2.jpg .*sum nan"),
        ([[0.5, 0.5], [-2.0, 3.0]], "1 images .* first 2.jpg .*lowest -2.*softmax of logits"),
        ([[2.0, 3.0], [2.0, 3.0]], "2 images .* first 1.jpg .*sum 5"),
        ([[0.5, 0.5], [0.5, 0.4]], ".*sum 0.9"),
        ([[1, 0], [0, 1]], "no table of numbers"),
    ],
)
def test_what_is_no_probability_is_refused(path, values, message):
    table = pd.DataFrame(values, index=["1.jpg", "2.jpg"], columns=["blast", "normal"])
    with pytest.raises(UserError, match=f"here: {message}"):
        check_probs(table, "here")
    with pytest.raises(UserError):
        write_probs(path, PLAIN, table, META)


def test_doubled_images_and_classes_and_an_empty_table_are_refused_also_when_read(path):
    assert "image '1.jpg' is there twice" in refusal(check_probs, pd.concat([PLAIN, PLAIN]), "")
    doubled = PLAIN.set_axis(["blast", "blast"], axis=1)
    assert "class 'blast' is there twice" in refusal(check_probs, doubled, "")
    assert "no table of numbers" in refusal(check_probs, PLAIN.iloc[:0], "")
    spoil(path, lambda table: table * 2)
    assert "sum 2" in refusal(read_probs, path)


def test_rounding_of_half_precision_is_no_reason_to_refuse():
    check_probs((PLAIN.astype(np.float16) * np.float16(0.9995)).astype(np.float32), "here")


# Several tables


@pytest.mark.parametrize(("rows", "columns"), [(-1, 1), (1, -1)])
def test_rows_and_columns_are_matched_by_name(rows, columns):
    turned = VIEWS.iloc[::rows, ::columns]
    pd.testing.assert_frame_equal(join([PLAIN, turned])[1], VIEWS)
    pd.testing.assert_frame_equal(average([PLAIN, turned]), average([PLAIN, VIEWS]))


def test_different_images_and_classes_are_refused_by_name(path):
    read = read_probs(path)[0]["plain"]
    with pytest.raises(UserError, match=r"vit_small_squish_224 and table 2 have different images"):
        join([read, probs_of({"9.jpg": 0.5})])
    fewer = probs_of({"1.jpg": 0.5}, model="swin")
    with pytest.raises(UserError, match=r"table 1 and swin have different images: 1 .*2\.jpg"):
        average([PLAIN, fewer])
    with pytest.raises(UserError, match="different classes: 2 .*hispa, normal"):
        join([PLAIN, PLAIN.set_axis(["blast", "hispa"], axis=1)])


@pytest.mark.parametrize("geometric", [False, True])
def test_weight_two_equals_listing_a_table_twice(geometric):
    other = probs_of({"1.jpg": 0.1, "2.jpg": 0.3})
    twice = average([PLAIN, PLAIN, other], geometric=geometric)
    weighted = average([PLAIN, other], [2, 1], geometric)
    pd.testing.assert_frame_equal(weighted, twice, rtol=1e-12)


@pytest.mark.parametrize(
    ("one", "two", "mean"),
    [(0.8, 0.2, 0.5),  # sqrt(0.8 × 0.2) for both classes: they share the whole equally
     (0.9, 0.5, 0.75),  # sqrt(0.45) : sqrt(0.05) = 3 : 1
     (0.0, 1.0, 0.5)],  # one exact zero is no veto
)
def test_the_geometric_mean_is_renormalised(one, two, mean):
    tables = [probs_of({"1.jpg": one}), probs_of({"1.jpg": two})]
    assert average(tables, geometric=True).loc["1.jpg", "blast"] == pytest.approx(mean)
    assert average(tables).loc["1.jpg", "blast"] == pytest.approx((one + two) / 2)
