"""Every item of the submission guard: what it refuses, what it only remarks."""

import pandas as pd
import pytest

from src.core import UserError
from src.submission.guard import guard
from src.submission.mix import label_findings
from tests.small_submissions import IDS, TRAINING, TRUTH, csv_of, lines


def only(findings):
    """The line of the one finding there must be, and one line it must be."""
    (line,) = lines(findings)
    assert "\n" not in line
    return line


# The file itself


def test_a_sound_file_gives_no_findings(folder, tmp_path):
    assert lines(guard(csv_of(tmp_path / "a.csv", TRUTH), folder)) == []


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
    # 400/800 · 399/799 · … · 301/701: all 100 of training are among the first half by chance
    start = "error: no row says normal; by training about 100 were to be expected (p = 7e-34)"
    assert line.startswith(start)


def test_a_rare_class_missing_by_chance_is_remarked_only(folder, tmp_path):
    with open(folder / "train.csv", "a") as file:
        file.write("100400.jpg,tungro,ADT45,50\n")
    line = only(guard(csv_of(tmp_path / "a.csv", TRUTH), folder))
    start = "remark: no row says tungro; by training about 1 were to be expected (p = 0.5)"
    assert line.startswith(start)  # 401/801


def test_a_class_missing_by_more_than_chance_is_not_called_chance(folder, tmp_path):
    with open(folder / "train.csv", "a") as file:
        file.writelines(f"1004{n:02}.jpg,tungro,ADT45,50\n" for n in range(12))
    line = lines(guard(csv_of(tmp_path / "a.csv", TRUTH), folder))[0]
    start = "remark: no row says tungro; by training about 12 were to be expected (p = 0.0003)"
    assert line.startswith(start)  # 412/812 · 411/811 · … · 401/801
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
    assert lines(guard(csv_of(tmp_path / "a.csv", labels), folder)) == []


def test_a_bias_that_the_hold_out_shows_too_is_no_error():
    labels = pd.Series(["blast"] * 300 + ["hispa"] * 95 + ["normal"] * 5)
    biased = pd.Series({"blast": 150, "hispa": 48, "normal": 2})
    (found,) = label_findings(labels, pd.Series(TRAINING))
    assert found.severity == "error" and "differs from training" in found.text
    assert label_findings(labels, pd.Series(TRAINING), biased) == []
    exchanged = labels.replace({"blast": "normal", "normal": "blast"})
    (found,) = label_findings(exchanged, pd.Series(TRAINING), biased)
    assert found.severity == "error"


def test_a_class_that_the_hold_out_never_shows_may_be_missing():
    labels, biased = pd.Series(["blast"] * 300 + ["hispa"] * 100), {"blast": 150, "hispa": 50}
    (found,) = label_findings(labels, pd.Series(TRAINING), pd.Series(biased))
    assert found.severity == "remark" and found.text.startswith("no row says normal")
