"""What is written to submissions/, with which provenance, and the command that checks it."""

import json

import pandas as pd
import pytest
from small_bundles import call, refused

from src.core import UserError, sha256
from src.evidence import read_probs
from src.submission import write
from src.submission.__main__ import main
from src.submission.guard import check, known_good
from src.submission.sent import read_provenance, sent_dir
from src.submission.write import submit_command, to_labels, write_submission
from tests.small_submissions import IDS, TRUTH, csv_of, probs_of, texts, with_changes

OTHER = probs_of(with_changes(TRUTH, 3))


def test_labels_are_matched_by_name_and_other_images_are_refused():
    sample = pd.DataFrame({"image_id": ["1.jpg", "2.jpg"], "label": ""})
    probs = pd.DataFrame([[0.1, 0.9], [0.7, 0.3]], ["2.jpg", "1.jpg"], ["normal", "blast"])
    table = to_labels(probs, sample)
    assert table.to_dict("list") == {"image_id": ["1.jpg", "2.jpg"], "label": ["normal", "blast"]}
    with pytest.raises(UserError, match="lack 1 images .* 1 others; predict this"):
        to_labels(probs.rename({"2.jpg": "3.jpg"}), sample)


def test_the_csv_is_in_the_samples_order_with_its_provenance_beside_it(folder):
    given = {"why": ["vit", "swin"], "weights": {"vit": 2.0}, "holdout": {"wrong": 37}}
    shuffled = probs_of(TRUTH).sample(frac=1, random_state=0)
    path = write_submission(shuffled, folder, "paddy_train", given)
    assert path.read_bytes() == csv_of(folder / "expected.csv", TRUTH).read_bytes()
    record = read_provenance(path)
    facts = {"sha256": sha256(path), "submitted": False, "drawn": False, "forced": [], **given}
    assert facts.items() <= record.items()
    assert {"commit", "dirty", "created", "notebook"} <= set(record)
    assert [line.partition(": ")[0] for line in record["findings"]] == ["not compared"]
    table = read_probs(path.with_suffix(".parquet"), {"sha256": sha256(path)})[0]["plain"]
    assert table.loc[IDS[0], TRUTH.iloc[0]] == pytest.approx(0.8)


def mark(path, **fields):
    """Change the provenance of `path`."""
    path.with_suffix(".json").write_text(json.dumps(read_provenance(path) | fields))


def files_of(path):
    """The bytes of all files beside `path`."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}


def test_a_csv_that_may_have_been_sent_is_put_aside_before_it_is_replaced(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {"why": 1})
    mark(path, submitted=True, created="2026-05-01T11:00:00+00:00")
    path.chmod(0o444)  # as earlier versions left it
    before = files_of(path)
    write_submission(probs_of(TRUTH), folder, "paddy_train", {"why": 2})
    assert files_of(path) == before  # the same bytes need no second file
    write_submission(OTHER, folder, "paddy_train", {"why": 2})
    (copy,) = sent_dir().glob("*.csv")
    assert copy.name == f"20260501T110000Z_{sha256(copy)[:8]}_paddy_train.csv"
    assert copy.read_bytes() == before["paddy_train.csv"] and copy.stat().st_mode & 0o222 == 0
    assert copy.with_suffix(".parquet").read_bytes() == before["paddy_train.parquet"]
    waits = json.loads(before["paddy_train.json"]) | {"submitted": False}
    assert read_provenance(copy) == waits
    assert read_provenance(path)["why"] == 2 and path.read_bytes() != copy.read_bytes()
    assert known_good() == []  # no score says so


def test_the_same_submission_again_changes_no_file(folder):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {"why": ("vit", "swin")})
    mark(path, created="long ago")
    before = files_of(path)
    write_submission(probs_of(TRUTH), folder, "paddy_train", {"why": ("vit", "swin")})
    assert files_of(path) == before
    write_submission(probs_of(TRUTH), folder, "paddy_train", {"why": ("vit",)})
    assert read_provenance(path)["why"] == ["vit"]


@pytest.mark.parametrize("spoil", ["edit the csv", "lose the json"])
def test_a_csv_of_the_user_is_not_overwritten(folder, spoil):
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    if spoil == "edit the csv":
        csv_of(path, with_changes(TRUTH, 1))
    else:
        path.with_suffix(".json").unlink()
    before = files_of(path)
    with pytest.raises(UserError, match="was edited or is not ours; move it away"):
        write_submission(OTHER, folder, "paddy_train", {})
    assert files_of(path) == before


def test_errors_refuse_to_write_and_force_is_recorded(folder):
    collapsed, good = probs_of(pd.Series("blast", IDS)), csv_of(folder / "good.csv", TRUTH)
    with pytest.raises(UserError, match=r"not written: every row .*\(and 1 more\).*--force"):
        write_submission(collapsed, folder, "paddy_train", {}, [good])
    assert not (folder.parent / "work" / "submissions").exists()
    path = write_submission(collapsed, folder, "paddy_train", {}, [good], force=True)
    one_class, differs = read_provenance(path)["forced"]
    assert one_class.startswith("every row says blast") and str(good) in differs


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a.csv"])
def test_a_name_that_is_no_file_name_is_refused(folder, name):
    with pytest.raises(UserError, match="is no name for a submission; .*--notebook paddy_train"):
        write_submission(probs_of(TRUTH), folder, name, {})


@pytest.mark.parametrize("earlier", [True, False])
def test_a_stop_between_provenance_and_csv_is_seen_and_repaired(folder, monkeypatch, earlier):
    def interrupt(*_):
        raise KeyboardInterrupt

    path = folder.parent / "work" / "submissions" / "paddy_train.csv"
    if earlier:
        write_submission(probs_of(TRUTH), folder, "paddy_train", {"why": "old"})
        old = path.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(write.core, "write_text", interrupt)
        write_submission(OTHER, folder, "paddy_train", {"why": "new"})
    if earlier:
        assert path.read_bytes() == old
        line = "error: paddy_train.csv is not the CSV that paddy_train.json describes"
        assert texts(check(path, folder))[0].startswith(line)
    else:
        assert not path.exists()
    write_submission(OTHER, folder, "paddy_train", {"why": "new"})
    assert texts(check(path, folder), "error") == []


# The commands


def test_check_refuses_and_lists_changed_rows_with_their_margin(folder, tmp_path):
    good = csv_of(tmp_path / "good.csv", with_changes(TRUTH, 50))
    path = write_submission(probs_of(TRUTH), folder, "paddy_train", {})
    done = call(main, "check", path, "--good", good, "--data", folder)
    first, *rows, _, _, verdict = done.stdout.splitlines()
    assert first.startswith(f"error: 50 of 400 rows differ from {good}")
    assert len(rows) == 50 and all(row.endswith("margin +0.700") for row in rows)
    assert (done.returncode, verdict) == (1, f"{path}: not fit to submit, 1 error, 0 remarks")
    done = call(main, "check", tmp_path / "none.csv", "--data", folder)
    assert "none.csv is missing; python -m src.ensemble" in refused(done)


def test_the_submit_line_is_ready_to_paste(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = submit_command(tmp_path / "submissions" / "a b.csv", "3 models, 37 of 2,081 wrong")
    assert line == (
        "kaggle competitions submit -c paddy-disease-classification "
        "-f 'submissions/a b.csv' -m \"3 models, 37 of 2,081 wrong\""
    )
