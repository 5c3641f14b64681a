"""The probability table: what travels in the file, what is refused, how tables are averaged."""

import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_tables import PLAIN, VIEWS, probs_of

from src.core import ROOT, UserError
from src.evidence import average, blend, check_probs, is_fresh, join, read_probs, write_probs

META = {
    "split": "test",
    "model": "vit_small_squish_224",
    "sha256": "ab" * 32,
    "tta": {"tta": "random", "views": 4, "beta": 0.25, "seed": 42},
    "images": "f00d",
}


def test_what_is_written_is_read_back_with_its_labels(tmp_path):
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN, VIEWS.iloc[::-1, ::-1], META)  # stored by their names
    tables, meta = read_probs(path)
    pd.testing.assert_frame_equal(tables["plain"], PLAIN)
    pd.testing.assert_frame_equal(tables["views"], VIEWS)
    assert meta == {"kind": "probability", **META}
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_plain_parquet_with_float32_columns_and_the_contract_inside(tmp_path):
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN.astype(np.float64), VIEWS, META)
    table = pd.read_parquet(path)
    assert table.index.names == ["view", "image_id"]
    assert set(table.dtypes.astype(str)) == {"float32"}
    assert table.loc[("views", "2.jpg"), "blast"] == 0.125
    assert json.loads(pq.read_schema(path).metadata[b"paddy"])["kind"] == "probability"
    write_probs(path, PLAIN, None, META)  # without TTA
    tables, _ = read_probs(path)
    assert list(tables) == ["plain"]
    pd.testing.assert_frame_equal(blend(tables, 0.25), PLAIN)


def test_the_blend_is_a_quarter_plain_and_three_quarters_views():
    blended = blend({"plain": PLAIN, "views": VIEWS.iloc[::-1]}, 0.25)
    # 0.75 × 0.25 + 0.25 × 0.75 and 0.75 × 0.125 + 0.25 × 0.5, by hand
    assert blended.loc["1.jpg", "blast"] == 0.375
    assert blended.loc["2.jpg", "blast"] == 0.21875
    assert (blended.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("key", "other"),
    [("sha256", "cd" * 32), ("images", "beef"), ("split", "valid"), ("tta", {"tta": "none"})],
)
def test_a_stale_file_is_refused_and_the_remedy_named(tmp_path, key, other):
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN, VIEWS, META)
    with pytest.raises(UserError, match=f"stale: its {key} is .*delete it, then run"):
        read_probs(path, {key: other})
    assert not is_fresh(path, {key: other})


def test_a_file_with_the_expected_metadata_is_fresh_and_read(tmp_path):
    path, meta = tmp_path / "a.test.parquet", META | {"tta": {"crops": (224, 288)}}  # JSON: a list
    write_probs(path, PLAIN, VIEWS, meta)
    assert is_fresh(path, meta)
    assert read_probs(path, meta)[1]["model"] == META["model"]


def test_missing_and_damaged_files_are_refused_with_one_line(tmp_path):
    path = tmp_path / "a.test.parquet"
    with pytest.raises(UserError, match="is missing; run python -m src.ensemble to predict it"):
        read_probs(path)
    assert not is_fresh(path, {})
    write_probs(path, PLAIN, VIEWS, META)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="is no parquet file; delete it"):
        read_probs(path)
    assert not is_fresh(path, {})
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is no parquet file; delete it"):
        read_probs(path)


def test_a_foreign_parquet_file_is_refused(tmp_path):
    path = tmp_path / "a.valid.parquet"
    PLAIN.to_parquet(path)
    with pytest.raises(UserError, match="does not say which model .* then train this model again"):
        read_probs(path)


def test_logits_by_name_and_incomplete_metadata_are_refused_when_written(tmp_path):
    with pytest.raises(UserError, match="holds logit, not probabilities"):
        write_probs(tmp_path / "a.test.parquet", PLAIN, None, {**META, "kind": "logit"})
    with pytest.raises(UserError, match="metadata lack sha256, images"):
        less = {key: META[key] for key in ("split", "model", "tta")}
        write_probs(tmp_path / "a.test.parquet", PLAIN, None, less)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, 0.5], [np.nan, 1.0]], "1 images .* first 2.jpg .*sum nan"),
        ([[0.5, 0.5], [-2.0, 3.0]], "1 images .* first 2.jpg .*lowest -2.*softmax of logits"),
        ([[2.0, 3.0], [2.0, 3.0]], "2 images .* first 1.jpg .*sum 5"),
        ([[0.5, 0.5], [0.5, 0.4]], ".*sum 0.9"),
        ([[0.5, 0.5], [np.inf, 0.0]], ".*sum inf"),
        ([[1, 0], [0, 1]], "no table of numbers"),
        ([["a", "b"], ["c", "d"]], "no table of numbers"),
    ],
)
def test_what_is_no_probability_is_refused(tmp_path, values, message):
    table = pd.DataFrame(values, index=["1.jpg", "2.jpg"], columns=["blast", "normal"])
    with pytest.raises(UserError, match=f"here: {message}"):
        check_probs(table, "here")
    with pytest.raises(UserError):
        write_probs(tmp_path / "a.test.parquet", table, None, META)


def test_a_file_with_broken_rows_is_refused_when_read(tmp_path):
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN, None, META)
    table = pq.read_table(path)
    broken = table.set_column(0, "blast", [np.array([0.75, np.nan], dtype=np.float32)])
    pq.write_table(broken.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(UserError, match=r"\(plain\): 1 images"):
        read_probs(path)


def test_doubled_images_and_classes_and_an_empty_table_are_refused():
    with pytest.raises(UserError, match="image '1.jpg' is there twice"):
        check_probs(pd.concat([PLAIN, PLAIN]), "here")
    with pytest.raises(UserError, match="class 'blast' is there twice"):
        check_probs(PLAIN.set_axis(["blast", "blast"], axis=1), "here")
    with pytest.raises(UserError, match="no table of numbers"):
        check_probs(PLAIN.iloc[:0], "here")


def test_rounding_of_half_precision_is_no_reason_to_refuse():
    check_probs((PLAIN.astype(np.float16) * np.float16(0.9995)).astype(np.float32), "here")


KILLED = """
import os, signal, sys
import numpy as np, pandas as pd, pyarrow.parquet as pq
from pathlib import Path
from src.evidence import write_probs
def die(table, path, **settings):
    Path(path).write_bytes(b"half a file")
    os.kill(os.getpid(), signal.SIGKILL)
pq.write_table = die
table = pd.DataFrame([[1.0, 0.0]], index=["1.jpg"], columns=["blast", "normal"])
meta = dict(split="test", model="m", sha256="new", tta={}, images="i")
write_probs(Path(sys.argv[1]), table, None, meta)
"""


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN, VIEWS, META)
    before = path.read_bytes()
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_gives_one_line(tmp_path):
    (tmp_path / "models").write_text("no folder")
    with pytest.raises(UserError, match="cannot write .*a.test.parquet"):
        write_probs(tmp_path / "models" / "a.test.parquet", PLAIN, VIEWS, META)


def test_reading_tables_imports_neither_torch_nor_the_slow_part_of_scipy():
    code = "import sys, src.evidence; sys.exit(bool({'torch', 'scipy.stats'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# Several tables


@pytest.mark.parametrize(("rows", "columns"), [(-1, -1), (-1, 1), (1, -1)])
def test_rows_and_columns_are_matched_by_name(rows, columns):
    turned = VIEWS.iloc[::rows, ::columns]
    pd.testing.assert_frame_equal(join([PLAIN, turned])[1], VIEWS)
    pd.testing.assert_frame_equal(average([PLAIN, turned]), average([PLAIN, VIEWS]))


def test_different_images_and_classes_are_refused_by_name(tmp_path):
    path = tmp_path / "a.test.parquet"
    write_probs(path, PLAIN, None, META)
    read = read_probs(path)[0]["plain"]
    with pytest.raises(UserError, match=r"vit_small_squish_224 and table 2 have different images"):
        join([read, probs_of({"9.jpg": 0.5})])
    fewer = probs_of({"1.jpg": 0.5}, model="swin")
    with pytest.raises(UserError, match=r"table 1 and swin have different images: 1 .*2\.jpg"):
        average([PLAIN, fewer])
    with pytest.raises(UserError, match="different classes: 2 .*hispa, normal"):
        join([PLAIN, PLAIN.set_axis(["blast", "hispa"], axis=1)])


def test_the_average_is_the_weighted_mean_worked_by_hand():
    third = probs_of({"1.jpg": 0.0, "2.jpg": 1.0})
    assert average([PLAIN, third]).loc["1.jpg", "blast"] == pytest.approx(0.375)
    # (3 × 0.75 + 1 × 0) / 4
    assert average([PLAIN, third], [3, 1]).loc["1.jpg", "blast"] == pytest.approx(0.5625)


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
