"""Every item of the submission guard: what it refuses, what it only remarks."""

import numpy as np
import pandas as pd
import pytest

from src.config import UserError
from src.guard import changed_rows, guard, shifted
from src.submission import show
from tests.small_submissions import IDS, TRUTH, csv_of, lines, probs_of, with_changes


def only(findings):
    """The line of the one finding there must be, and one line it must be."""
    (line,) = lines(findings)
    assert "\n" not in line
    return line


# The file itself


def test_a_sound_file_gives_no_findings(folder, tmp_path):
    assert guard(csv_of(tmp_path / "a.csv", TRUTH), folder) == []


def test_missing_images_are_refused_by_name(folder, tmp_path):
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH.drop(IDS[3])), folder))
    assert line.startswith("error: 1 images missing: 200003.jpg; predict the test set that")


def test_foreign_images_are_refused_by_name(folder, tmp_path):
    labels = TRUTH.rename({IDS[0]: "999999.jpg"})
    missing, foreign = lines(guard(csv_of(tmp_path / "a.csv", labels), folder))
    assert missing.startswith("error: 1 images missing: 200000.jpg")
    assert foreign.startswith("error: 1 images not in the sample: 999999.jpg")


def test_doubled_images_are_refused_by_name(folder, tmp_path):
    line = only(guard(csv_of(tmp_path / "a.csv", pd.concat([TRUTH, TRUTH.iloc[5:7]])), folder))
    assert line.startswith("error: 2 images there twice: 200005.jpg, 200006.jpg")


def test_another_order_than_the_samples_is_refused(folder, tmp_path):
    order = [*IDS[:10], IDS[11], IDS[10], *IDS[12:]]
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH[order]), folder))
    assert line.startswith("error: rows are not in the sample's order from row 11 on (200011.jpg")


def test_unknown_and_empty_labels_are_refused(folder, tmp_path):
    labels = TRUTH.copy()
    labels.iloc[:3] = ["blasst", "", "blast "]
    line = only(guard(csv_of(tmp_path / "a.csv", labels), folder))
    assert line.startswith("error: 3 rows with unknown labels 'blasst', '', 'blast '; known: blast")


def test_stray_columns_are_refused(folder, tmp_path):
    path = tmp_path / "a.csv"
    TRUTH.rename_axis("image_id").reset_index(name="label").to_csv(path)
    assert only(guard(path, folder)) == (
        "error: stray column ''; write only image_id,label (index=False)"
    )


def test_a_missing_column_is_refused(folder, tmp_path):
    found = lines(guard(csv_of(tmp_path / "a.csv", TRUTH, head="image_id,class"), folder))
    assert found[0] == "error: needs one column label; the header must be image_id,label"
    assert found[1].startswith("error: stray column 'class'")


def test_exchanged_columns_are_remarked_only(folder, tmp_path):
    path = tmp_path / "a.csv"
    TRUTH.rename_axis("image_id").reset_index(name="label")[["label", "image_id"]].to_csv(
        path, index=False
    )
    assert only(guard(path, folder)).startswith("remark: columns are not in the usual order")


def test_a_byte_order_mark_is_refused(folder, tmp_path):
    path = csv_of(tmp_path / "a.csv", TRUTH)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    line = only(guard(path, folder))
    assert line.startswith("error: begins with a byte order mark")
    assert line.endswith("save it as UTF-8 without BOM")


def test_crlf_line_ends_are_remarked(folder, tmp_path):
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH, end="\r\n"), folder))
    assert line.startswith("remark: has CRLF line ends")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "error: needs one column image_id and label"),
        (b"image_id,label\n", "error: has a header but no rows"),
        (b"image_id,label\n200000.jpg,blast\n200001.jpg\n", "error: 1 rows have not 2 fields"),
        (b"\xff\xfe\x00image_id", "error: no readable CSV"),
        (b'image_id,label\n"200000.jpg,blast\n', "error: no readable CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_one_line(folder, tmp_path, content, told):
    (tmp_path / "a.csv").write_bytes(content)
    assert only(guard(tmp_path / "a.csv", folder)).startswith(told)


def test_a_missing_file_is_a_users_mistake(folder, tmp_path):
    with pytest.raises(UserError, match="none.csv is missing; python -m src.ensemble"):
        guard(tmp_path / "none.csv", folder)


# The labels as a whole


def test_one_class_only_is_refused(folder, tmp_path):
    labels = pd.Series("blast", IDS)
    line = only(guard(csv_of(tmp_path / "a.csv", labels), folder))
    assert line.startswith("error: every row says blast")


def test_a_class_missing_beyond_chance_is_refused(folder, tmp_path):
    labels = TRUTH.replace("normal", "hispa")
    line = lines(guard(csv_of(tmp_path / "a.csv", labels), folder))[0]
    # 0.75 to the power of 400
    assert line.startswith("error: no row says normal; about 100 were to be expected (p = 1e-50)")


def test_a_rare_class_missing_by_chance_is_remarked_only(folder, tmp_path):
    with open(folder / "train.csv", "a") as file:
        file.write("100400.jpg,tungro,ADT45,50\n")
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH), folder))
    # (400 / 401) to the power of 400 is 0.37
    assert line.startswith("remark: no row says tungro; about 1 were to be expected (p = 0.4)")


def test_a_class_missing_by_more_than_chance_is_not_called_chance(folder, tmp_path):
    with open(folder / "train.csv", "a") as file:
        file.writelines(f"1004{n:02}.jpg,tungro,ADT45,50\n" for n in range(10))
    line = lines(guard(csv_of(tmp_path / "a.csv", TRUTH), folder))[0]
    # (400 / 410) to the power of 400
    assert line.startswith("remark: no row says tungro; about 10 were to be expected (p = 5e-05)")
    assert "chance" not in line and "confusion matrices" in line


def test_exchanged_class_names_show_in_the_class_mix(folder, tmp_path):
    labels = TRUTH.replace({"blast": "normal", "normal": "blast"})
    line = only(guard(csv_of(tmp_path / "a.csv", labels), folder))
    assert line.startswith("error: class mix differs from training (chi-square p = ")
    assert line.endswith("see whether class names were exchanged")


def test_a_small_bias_of_the_mix_is_remarked_with_its_p_value(folder, tmp_path):
    labels = pd.Series(["blast"] * 250 + ["hispa"] * 60 + ["normal"] * 90, IDS)
    line = only(guard(csv_of(tmp_path / "a.csv", labels), folder))
    # 2 × 3 table: 50²/450 + 40²/160 + 10²/190 = 16.08; e^(-16.08 / 2) = 0.00032
    assert line.startswith("remark: class mix differs from training (chi-square p = 0.0003, 12%")
    assert line.endswith("of the rows): blast +50, hispa −40")


def test_a_mix_like_that_of_training_is_silent(folder, tmp_path):
    labels = pd.Series(["blast"] * 215 + ["hispa"] * 90 + ["normal"] * 95, IDS)
    assert guard(csv_of(tmp_path / "a.csv", labels), folder) == []


# Beside earlier files


def test_small_changes_against_a_good_file_are_remarked_and_listed(folder, tmp_path):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    (found,) = guard(csv_of(tmp_path / "a.csv", with_changes(TRUTH, 2)), folder, [good])
    assert found.severity == "remark"
    assert found.text.startswith("2 of 400 rows differ from ") and "(99.50% agree)" in found.text
    assert list(found.changes.index) == IDS[:2]
    assert list(found.changes.before) == list(TRUTH[:2])


def test_agreement_below_nine_tenths_is_refused_and_every_row_listed(folder, tmp_path):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    found = guard(csv_of(tmp_path / "a.csv", with_changes(TRUTH, 41)), folder, [good])[0]
    assert found.severity == "error"
    assert found.text.startswith("41 of 400 rows differ") and "at least 90%" in found.text
    assert len(found.changes) == 41
    assert guard(csv_of(tmp_path / "a.csv", with_changes(TRUTH, 40)), folder, [good])[
        0
    ].severity == "remark"


def test_changed_rows_carry_both_labels_and_the_margin(folder):
    new = with_changes(TRUTH, 2)
    probs = probs_of(new)
    probs.loc[IDS[1]] = 0.25
    probs.loc[IDS[1], new[IDS[1]]] = 0.5
    table = changed_rows(new, TRUTH, probs)
    assert list(table.after) == list(new[:2]) and list(table.before) == list(TRUTH[:2])
    # 0.8 - 0.1 and 0.5 - 0.25, the surest first
    assert table.margin.tolist() == pytest.approx([0.7, 0.25])


def test_a_remark_shows_the_first_changed_rows_and_counts_the_others(folder, tmp_path, capsys):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    show(guard(csv_of(tmp_path / "a.csv", with_changes(TRUTH, 25)), folder, [good]))
    first, *rows, last = capsys.readouterr().out.splitlines()
    assert first.startswith("remark: 25 of 400 rows differ")
    assert len(rows) == 20 and "margin" not in rows[0]
    assert last == "  … and 5 more"


def test_only_the_closest_good_file_lists_its_rows(folder, tmp_path):
    near = csv_of(tmp_path / "good" / "near.csv", with_changes(TRUTH, 1))
    far = csv_of(tmp_path / "good" / "far.csv", with_changes(TRUTH, 30))
    found = guard(csv_of(tmp_path / "a.csv", TRUTH), folder, [far, near])
    assert [None if f.changes is None else len(f.changes) for f in found] == [None, 1]


def test_an_identical_earlier_file_is_named(folder, tmp_path):
    twin = csv_of(tmp_path / "twin.csv", TRUTH, end="\r\n")
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH), folder))
    assert line == f"remark: identical to {twin}; it would score the same"


@pytest.mark.parametrize(("step", "way", "other"), [(1, "down", "before"), (-1, "up", "after")])
def test_rows_shifted_by_one_are_recognised_and_named(folder, tmp_path, step, way, other):
    good = csv_of(tmp_path / "good" / "g.csv", with_changes(TRUTH, 8))
    labels = pd.Series(np.roll(TRUTH, step), IDS)
    line = only(guard(csv_of(tmp_path / "a.csv", labels), folder, [good]))
    assert line.startswith(f"error: rows are shifted {way} by one from row")
    assert f"each image carries the label of the one {other} it against {good}" in line
    assert line.endswith("sort the test images by name and join labels by image_id")


def test_a_shift_from_the_middle_on_tells_the_row(folder):
    labels = TRUTH.copy()
    labels.iloc[100:] = np.roll(TRUTH, 1)[100:]
    # Rows right by luck around the break leave it open where exactly it is.
    row = int(shifted(labels, TRUTH).split("from row ")[1].split()[0])
    assert 95 <= row <= 101


def test_unlike_files_are_not_taken_for_shifted_ones():
    other = pd.Series(np.random.default_rng(1).permutation(TRUTH), IDS)
    assert shifted(other, TRUTH) == ""


def test_a_good_file_of_another_test_set_is_said_not_to_count(folder, tmp_path):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH[:100])
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH), folder, [good]))
    assert line.startswith("remark: not compared with ")
