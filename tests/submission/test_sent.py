"""submissions/sent/: what was sent is found on Kaggle's list, kept, and never mixed up."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from src.core import sha256
from src.submission import sent

NOON = datetime(2022, 5, 1, 12, 0, 0)  # as Kaggle's client gives it, UTC without a zone


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    (tmp_path / "submissions").mkdir()
    return tmp_path / "submissions"


def write(folder: Path, text: str = "one", made: str = "11:00", **facts: Any) -> Path:
    """The current file with its provenance, as the ensemble writes it."""
    path = folder / "paddy_train.csv"
    path.write_text(text)
    created = {"created": f"2022-05-01T{made}:00+00:00", "sha256": sha256(path)}
    path.with_suffix(".json").write_text(json.dumps({"members": [text], **created, **facts}))
    return path


def entry(path: Path, ref: int = 1, **more: Any) -> dict[str, Any]:
    facts = {"ref": ref, "name": path.name, "time": NOON, "bytes": path.stat().st_size}
    return {**facts, **more}


def texts() -> dict[object, str]:
    """Kaggle's number → content of the copies, None where it is not known."""
    return {r.get("ref"): path.read_text() for path, r in sent.copies().items() if path.is_file()}


# Files that another client sent


@pytest.mark.parametrize(
    "made, change, known",
    [("11:59", {}, True), ("12:04", {}, True), ("12:30", {}, False), ("11:00", {"bytes": 7}, False),
     ("11:00", {"name": "other.csv"}, False), ("11:00", {"bytes": 0}, True)],
)  # fmt: skip
def test_a_file_is_matched_by_name_size_and_time(folder, made, change, known):
    path = write(folder, made=made)
    sent.adopt([entry(path, **change)], {})
    assert texts() == ({1: "one"} if known else {})
    assert bool(sent.read_provenance(path).get("submitted")) is known


@pytest.mark.parametrize("time, known", [(NOON, True), (datetime(1969, 12, 31), False)])
def test_without_provenance_the_clock_of_the_file_decides(folder, time, known):
    path = write(folder)
    path.with_suffix(".json").unlink()
    os.utime(path, (0, 0))
    sent.adopt([entry(path, time=time)], {})
    assert (texts() == {1: "one"}) is known


def test_the_ledgers_digest_decides_where_it_is_known(folder):
    path = write(folder)
    sent.adopt([entry(path)], {"1": "0" * 64})  # another file of this name and size
    assert texts() == {}
    sent.adopt([entry(path, bytes=99)], {"1": sha256(path)})
    assert texts() == {1: "one"}


def test_a_file_made_for_a_drawn_competition_was_never_sent(folder):
    sent.adopt([entry(write(folder, drawn=True))], {})
    assert texts() == {}


def test_the_same_list_twice_changes_nothing_and_a_second_sending_is_a_second_copy(folder):
    path = write(folder)
    for _ in range(2):
        sent.adopt([entry(path)], {})
    assert texts() == {1: "one"} and len(sent.copies()) == 1
    assert sent.by_digest(sha256(path)) == sent.by_ref(1) == sent.by_ref("1")
    assert sent.by_digest("0" * 64) is None and sent.by_ref(2) is None
    sent.adopt([entry(path), entry(path, ref=2)], {})  # in the same second, too
    assert texts() == {1: "one", 2: "one"}


# Copies that wait to be listed


def put_aside(path: Path, minutes: float) -> Path:
    """The copy that a command makes before it uploads, and is then killed, so long after noon."""
    when = NOON.replace(tzinfo=UTC) + timedelta(minutes=minutes)
    return sent.put_aside(path, when)


def test_a_command_that_was_killed_after_the_upload_is_made_good_from_the_list(folder):
    put_aside(write(folder), minutes=0)
    path = write(folder, "two", made="12:01")  # the loop went on
    sent.adopt([entry(path)], {})
    assert texts() == {1: "one"}
    assert sent.read_provenance(sent.by_ref(1))["members"] == ["one"]
    assert "submitted" not in sent.read_provenance(path)


def test_the_current_file_is_marked_as_sent_too_while_it_is_the_same(folder):
    put_aside(path := write(folder), minutes=0)
    sent.adopt([entry(path)], {})
    facts = {"submitted": True, "ref": 1, "sent": "2022-05-01T12:00:00+00:00"}
    assert facts.items() <= sent.read_provenance(path).items()


def test_of_two_copies_that_wait_the_nearer_in_time_was_sent(folder):
    put_aside(write(folder), minutes=-3)
    put_aside(path := write(folder, "two"), minutes=0)
    sent.adopt([entry(path)], {})
    assert texts() == {1: "two"}


def test_a_copy_that_kaggle_never_listed_is_removed_but_not_while_it_may_be_under_way(folder):
    path = write(folder)
    old = put_aside(path, minutes=0)
    young = sent.put_aside(path, datetime.now(UTC))
    sent.adopt([], {})
    assert list(sent.copies()) == [young] and not old.exists()
    sent.discard(young)
    assert list(sent.sent_dir().iterdir()) == []


def test_a_copy_that_was_killed_half_way_is_finished_by_the_next_list(folder):
    copy = put_aside(path := write(folder), minutes=0)
    copy.unlink()  # the .json is written first, the CSV last
    sent.adopt([entry(path)], {})
    assert texts() == {1: "one"}


# Files that an earlier version sent


def test_a_sent_file_without_a_copy_is_put_aside_and_gets_its_number_from_the_list(folder):
    path = write(folder, submitted=True)
    path.chmod(0o444)
    sent.keep(path)
    sent.keep(path)
    assert texts() == {None: "one"} and path.stat().st_mode & 0o200
    write(folder, "two", made="12:30")
    sent.adopt([entry(path)], {})
    assert texts() == {1: "one"}


def test_a_replaced_file_that_the_plain_client_sent_is_found_on_the_list(folder):
    sent.keep(write(folder, made="11:00"))
    sent.keep(write(folder, "two", made="11:58"))
    path = write(folder, "six", made="12:03")  # within the clocks' difference, yet later
    sent.adopt([entry(path)], {})
    assert texts() == {1: "two"}


def test_a_replaced_file_is_kept_until_the_list_does_not_show_it_a_drawn_one_never(folder):
    sent.keep(write(folder, drawn=True))
    assert texts() == {}
    sent.keep(write(folder))
    assert texts() == {None: "one"}
    sent.adopt([], {})
    assert texts() == {}


def test_a_copy_that_lost_its_provenance_is_not_removed(folder):
    path = write(folder)
    sent.adopt([entry(path)], {})
    (copy,) = sent.copies()
    copy.with_suffix(".json").write_text("<<<<<<< half a merge")
    sent.adopt([], {})
    assert copy.read_text() == "one"


def test_other_files_in_the_folder_are_left_alone(folder):
    sent.sent_dir().mkdir()
    (sent.sent_dir() / "notes.json").write_text("{}")
    sent.adopt([entry(write(folder))], {})
    assert list(texts()) == [1] and (sent.sent_dir() / "notes.json").exists()
