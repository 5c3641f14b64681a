"""submissions/sent/: what was sent is found on Kaggle's list and never mixed up."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from src.core import sha256
from src.submission import sent

NOON = datetime(2022, 5, 1, 12, 0, 0)  # as Kaggle's client gives it, UTC without a zone


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    (tmp_path / "submissions").mkdir()
    return tmp_path / "submissions"


def write(folder, text="one", made="11:00", **facts):
    """The current file with its provenance, as the ensemble writes it."""
    path = folder / "paddy_train.csv"
    path.write_text(text)
    created = {"created": f"2022-05-01T{made}:00+00:00", "sha256": sha256(path)}
    path.with_suffix(".json").write_text(json.dumps({"members": [text], **created, **facts}))
    return path


def entry(path, ref=1, **more):
    facts = {"ref": ref, "name": path.name, "time": NOON, "bytes": path.stat().st_size}
    return {**facts, **more}


def texts():
    """Kaggle's number → content of the copies, None where it is not known."""
    return {r.get("ref"): path.read_text() for path, r in sent.copies().items() if path.is_file()}


# Files that another client sent


@pytest.mark.parametrize("made, change, known", [
    ("12:04", {}, True), ("12:30", {}, False), ("11:00", {"bytes": 7}, False),
    ("11:00", {"name": "other.csv"}, False), ("11:00", {"bytes": 0}, True),
])  # fmt: skip
def test_a_file_is_matched_by_name_size_and_time(folder, made, change, known):
    path = write(folder, made=made)
    for _ in range(2):  # the same list again changes nothing
        sent.adopt([entry(path, **change)])
    assert texts() == ({1: "one"} if known else {})
    facts = {"submitted": True, "ref": 1, "sent": "2022-05-01T12:00:00+00:00"}
    assert (facts.items() <= sent.read_provenance(path).items()) is known


@pytest.mark.parametrize("time, known", [(NOON, True), (datetime(1969, 12, 31), False)])
def test_without_provenance_the_clock_of_the_file_decides(folder, time, known):
    path = write(folder)
    path.with_suffix(".json").unlink()
    os.utime(path, (0, 0))
    sent.adopt([entry(path, time=time)])
    assert (texts() == {1: "one"}) is known


def test_a_second_sending_of_the_same_bytes_is_a_second_copy(folder):
    path = write(folder)
    sent.adopt([entry(path), entry(path, ref=2)])  # in the same second, too
    assert texts() == {1: "one", 2: "one"}
    assert sha256(sent.by_digest(sha256(path))) == sha256(sent.by_ref("2")) == sha256(path)
    assert sent.by_digest("0" * 64) is None and sent.by_ref(3) is None


# Copies that wait to be listed


def put_aside(path, minutes=0):
    """The copy that a command makes before it uploads, and is then killed, so long after noon."""
    return sent.put_aside(path, NOON.replace(tzinfo=UTC) + timedelta(minutes=minutes))


def test_a_command_that_was_killed_after_the_upload_is_made_good_from_the_list(folder):
    put_aside(write(folder, "zero"), minutes=-3)  # another one, never sent
    put_aside(write(folder))
    path = write(folder, "two", made="12:01")  # the loop went on
    sent.adopt([entry(path)])
    assert texts() == {1: "one"}
    assert sent.read_provenance(sent.by_ref(1))["members"] == ["one"]
    assert "submitted" not in sent.read_provenance(path)


def test_a_copy_that_kaggle_never_listed_is_removed_but_not_while_it_may_be_under_way(folder):
    path = write(folder)
    old = put_aside(path)
    young = sent.put_aside(path, datetime.now(UTC))
    sent.adopt([])
    assert list(sent.copies()) == [young] and not old.exists()
    sent.discard(young)
    assert list(sent.sent_dir().iterdir()) == []


def test_a_copy_that_was_killed_half_way_is_finished_by_the_next_list(folder):
    path = write(folder)
    put_aside(path).unlink()  # the .json is written first, the CSV last
    sent.adopt([entry(path)])
    assert texts() == {1: "one"}


# Files that were replaced


def test_a_replaced_file_that_the_plain_client_sent_is_found_on_the_list(folder):
    sent.put_aside_replaced(write(folder, "zero", made="11:00"))
    sent.put_aside_replaced(write(folder, made="11:58"))
    sent.put_aside_replaced(write(folder, made="11:58"))  # once is enough
    assert sorted(path.read_text() for path in sent.copies()) == ["one", "zero"]
    path = write(folder, "six", made="12:01")  # within the clocks' difference, yet later
    sent.adopt([entry(path, bytes=3)])
    assert texts() == {1: "one"}


def test_a_drawn_file_and_one_that_was_edited_take_no_provenance_along(folder):
    sent.adopt([entry(write(folder, drawn=True))])
    sent.put_aside_replaced(write(folder, drawn=True))
    assert texts() == {}
    path = write(folder)
    path.write_text("edited")
    sent.put_aside_replaced(path)
    assert [record.get("members") for record in sent.copies().values()] == [None]


def test_nothing_that_is_not_understood_is_removed(folder):
    path = write(folder)
    sent.adopt([entry(path)])
    (copy,) = sent.copies()
    copy.with_suffix(".json").write_text("<<<<<<< half a merge")
    notes = [sent.sent_dir() / name for name in ("notes.json", "NoTimeZ_12345678_notes.json")]
    for path in notes:
        path.write_text('{"submitted": false}')
    sent.adopt([entry(path, name="notes.csv")])
    assert copy.read_text() == "one" and all(path.exists() for path in notes)
