"""The submission guard, item by item, and what is written with which provenance."""

import json
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from src.config import ROOT, UserError
from src.files import sha256
from src.guard import changed_rows, guard, shifted
from src.probs import read_probs
from src.submission import (
    check,
    known_good,
    show,
    submit_command,
    to_labels,
    write_submission,
)

CLASSES = ["blast", "hispa", "normal"]
IDS = [f"2{number:05d}.jpg" for number in range(400)]
# Half of the images blast, a quarter each of the others, without any order.
TRUTH = pd.Series(np.random.default_rng(7).choice(["blast", "blast", "hispa", "normal"], 400), IDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A competition of 400 training and 400 test images, by their tables; work in tmp_path."""
    folder = tmp_path / "data"
    for name in ("train_images", "test_images"):
        (folder / name).mkdir(parents=True)
    labels = ["blast"] * 200 + ["hispa"] * 100 + ["normal"] * 100
    rows = [f"1{number:05d}.jpg,{label},ADT45,50" for number, label in enumerate(labels)]
    (folder / "train.csv").write_text("\n".join(["image_id,label,variety,age", *rows, ""]))
    rows = [f"{name}," for name in IDS]
    (folder / "sample_submission.csv").write_text("\n".join(["image_id,label", *rows, ""]))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    return folder


def csv_of(path, labels, head="image_id,label", end="\n"):
    """A submission at `path` with `labels` by image id."""
    path.parent.mkdir(exist_ok=True)
    lines = [head, *(f"{name},{label}" for name, label in labels.items()), ""]
    path.write_bytes(end.join(lines).encode())
    return path


def probs_of(labels, certainty=0.8):
    """Probabilities whose argmax are `labels`."""
    values = np.full((len(labels), 3), (1 - certainty) / 2)
    values[np.arange(len(labels)), [CLASSES.index(label) for label in labels]] = certainty
    return pd.DataFrame(values, index=pd.Index(labels.index, name="image_id"), columns=CLASSES)


def with_changes(labels, count):
    """`labels` with the first `count` rows changed to another class."""
    changed = labels.copy()
    changed.iloc[:count] = labels.iloc[:count].map(
        {"blast": "hispa", "hispa": "normal", "normal": "blast"}
    )
    return changed


def lines(findings):
    """Findings as the lines a user reads."""
    return [f"{finding.severity}: {finding.text}" for finding in findings]


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


# Labels from probabilities


def test_labels_are_matched_by_name_whatever_the_order_of_rows_and_columns():
    sample = pd.DataFrame({"image_id": ["1.jpg", "2.jpg"], "label": ""})
    probs = pd.DataFrame(
        [[0.1, 0.9], [0.7, 0.3]], index=["2.jpg", "1.jpg"], columns=["normal", "blast"]
    )
    table = to_labels(probs, sample)
    assert table.to_dict("list") == {"image_id": ["1.jpg", "2.jpg"], "label": ["normal", "blast"]}


def test_probabilities_of_other_images_are_refused():
    sample = pd.DataFrame({"image_id": ["1.jpg", "2.jpg"], "label": ""})
    probs = pd.DataFrame([[1.0], [1.0]], index=["1.jpg", "3.jpg"], columns=["blast"])
    with pytest.raises(UserError, match=r"lack 1 images .* 1 others \(2.jpg, …\); predict this"):
        to_labels(probs, sample)


# Writing


def test_the_csv_is_in_the_samples_order_with_its_provenance_beside_it(folder):
    given = {"members": ["vit", "swin"], "weights": {"vit": 2.0}, "holdout": {"wrong": 37}}
    shuffled = probs_of(TRUTH).sample(frac=1, random_state=0)
    path = write_submission(shuffled, folder, "paddy_train", given)
    assert path.read_bytes() == csv_of(folder / "expected.csv", TRUTH).read_bytes()
    record = json.loads(path.with_suffix(".json").read_text())
    assert given.items() <= record.items()
    assert record["sha256"] == sha256(path) and record["submitted"] is False
    assert {"commit", "dirty", "created", "notebook"} <= set(record)
    assert record["findings"] == record["forced"] == []


def test_the_probabilities_are_kept_for_later_margins(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    table = read_probs(path.with_suffix(".parquet"), {"sha256": sha256(path)})[0]["plain"]
    assert table.loc[IDS[0], TRUTH.iloc[0]] == pytest.approx(0.8)


def mark(path, **fields):
    """Change the provenance of `path` as submitting would."""
    record = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(record | fields))


def files_of(path):
    """The bytes of all files beside `path`."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_submitted_csv_is_never_overwritten(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    mark(path, submitted=True)
    before = files_of(path)
    with pytest.raises(UserError, match="was submitted and is never overwritten; .*--notebook"):
        write_submission(probs_of(with_changes(TRUTH, 3)), folder, "paddy_train", {}, force=True)
    write_submission(probs_of(TRUTH), folder, "paddy_train", {"members": ["another"]})
    assert files_of(path) == before


def test_a_csv_that_was_not_submitted_is_replaced(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {"members": 1})
    write_submission(probs_of(with_changes(TRUTH, 3)), folder, "paddy_train", {"members": 2})
    assert json.loads(path.with_suffix(".json").read_text())["members"] == 2
    assert guard(path, folder) == []


def test_the_same_submission_again_changes_no_file(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {"members": ("vit", "swin")})
    mark(path, created="long ago")
    before = files_of(path)
    write_submission(probs_of(TRUTH), folder, "paddy_train", {"members": ("vit", "swin")})
    assert files_of(path) == before
    write_submission(probs_of(TRUTH), folder, "paddy_train", {"members": ("vit",)})
    assert json.loads(path.with_suffix(".json").read_text())["members"] == ["vit"]


@pytest.mark.parametrize("spoil", ["edit the csv", "lose the json"])
def test_a_csv_of_the_user_is_not_overwritten(folder, spoil):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    if spoil == "edit the csv":
        csv_of(path, with_changes(TRUTH, 1))
    else:
        path.with_suffix(".json").unlink()
    before = files_of(path)
    with pytest.raises(UserError, match="was edited or is not of this project; move it away"):
        write_submission(probs_of(with_changes(TRUTH, 3)), folder, "paddy_train", {})
    assert files_of(path) == before


def test_errors_refuse_to_write_and_force_is_recorded(folder):
    collapsed = probs_of(pd.Series("blast", IDS))
    with pytest.raises(UserError, match="not written: every row says blast.*--force") as refused:
        write_submission(collapsed, folder, "paddy_train", {})
    assert "\n" not in str(refused.value)
    assert not (folder.parent / "work" / "submissions").exists()
    path = write_submission(collapsed, folder, "paddy_train", {}, force=True)
    (forced,) = json.loads(path.with_suffix(".json").read_text())["forced"]
    assert forced.startswith("every row says blast")


def test_files_whose_provenance_says_so_are_known_to_be_good(folder):
    good, sent, bad, plain = (
        write_submission(probs_of(with_changes(TRUTH, n)), folder, name, {})
        for n, name in enumerate(["good", "sent", "bad", "plain"])
    )
    mark(good, good=True)
    mark(sent, submitted=True)
    mark(bad, submitted=True, good=False)
    assert known_good() == [good, sent]
    with pytest.raises(UserError, match=r"rows differ from .*(good|sent).csv.*\(and 1 more\)"):
        write_submission(probs_of(with_changes(TRUTH, 60)), folder, "new", {})


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".hidden", "-m", "a.csv", "a.ipynb", "a\nb"])
def test_a_name_that_is_no_file_name_is_refused(folder, name):
    with pytest.raises(UserError, match="is no name for a submission; .*--notebook paddy_train"):
        write_submission(probs_of(TRUTH), folder, name, {})


KILLED = """
import os, pathlib, signal, sys
import pandas as pd
from src import submission
def die(path, text):
    os.kill(os.getpid(), signal.SIGKILL)
submission.write_text = die
probs = pd.read_parquet(sys.argv[2])
submission.write_submission(probs, pathlib.Path(sys.argv[1]), "paddy_train", {"members": "new"})
"""


@pytest.mark.parametrize("earlier", [True, False])
def test_a_kill_between_provenance_and_csv_is_seen_and_mended_by_the_next_run(folder, earlier):
    if earlier:
        path = write_submission(probs_of(TRUTH), folder, "paddy_train", {"members": "old"})
        old = path.read_bytes()
    path = folder.parent / "work" / "submissions" / "paddy_train.csv"
    new, stored = probs_of(with_changes(TRUTH, 3)), folder.parent / "new.parquet"
    new.to_parquet(stored)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(stored)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    if earlier:
        assert path.read_bytes() == old
        assert "is not the CSV that paddy_train.json describes" in lines(check(path, folder))[0]
    else:
        assert not path.exists()
    write_submission(new, folder, "paddy_train", {"members": "new"})
    assert check(path, folder) == []
    assert not [file for file in path.parent.iterdir() if file.suffix == ".tmp"]


# The command


def run(*arguments):
    """`python -m src.submission` with `arguments`: exit code, standard output, standard error."""
    command = [sys.executable, "-m", "src.submission", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_check_passes_a_sound_file_and_knows_one_that_was_sent(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    mark(path, submitted=True)
    code, out, err = run("check", path, "--data", folder)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "remark: was submitted already; it would score the same",
        f"{path}: fit to submit, 1 remarks",
    ]


def test_check_refuses_and_lists_changed_rows_with_labels_and_margin(folder, tmp_path):
    good = csv_of(tmp_path / "good.csv", with_changes(TRUTH, 50))
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    code, out, err = run("check", path, "--good", good, "--data", folder)
    assert (code, err) == (1, "")
    first, *rows, verdict = out.splitlines()
    assert first.startswith(f"error: 50 of 400 rows differ from {good}")
    assert len(rows) == 50 and all(row.endswith("margin +0.700") for row in rows)
    assert rows[0].split()[:4] == [IDS[0], with_changes(TRUTH, 1).iloc[0], "→", TRUTH.iloc[0]]
    assert verdict == f"{path}: not fit to submit, 1 errors, 0 remarks"


def test_check_of_nothing_gives_one_line_and_no_traceback(folder, tmp_path):
    code, out, err = run("check", tmp_path / "none.csv", "--data", folder)
    assert code == 1 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1


def test_the_submit_line_is_ready_to_paste(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = submit_command(tmp_path / "submissions" / "a b.csv", "3 models, 37 of 2,081 wrong")
    assert line == (
        "kaggle competitions submit -c paddy-disease-classification "
        "-f 'submissions/a b.csv' -m \"3 models, 37 of 2,081 wrong\""
    )
    assert submit_command(tmp_path.parent / "a.csv", "5$").endswith("/a.csv -m '5$'")
