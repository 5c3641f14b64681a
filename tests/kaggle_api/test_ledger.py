"""The table of submissions: rows, scores in images, the board, the choice of two at the end."""

import json
from datetime import datetime

import pandas as pd
import pytest

from src.core import sha256
from src.evidence import error_phrase
from src.kaggle_api import ledger
from src.submission import sent

IDS = [f"2{n:05}.jpg" for n in range(20)]
NOON = datetime(2026, 5, 1, 12, 0, 0)
NOON_SENT = "sent 2026-05-01 12:00 UTC"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    (tmp_path / "submissions").mkdir()
    return tmp_path / "submissions"


def write(folder, name, wrong=37, changed=0):
    """A submission that says hispa for the first `changed` images, with its provenance."""
    labels = ["hispa"] * changed + ["blast"] * (len(IDS) - changed)
    path = folder / f"{name}.csv"
    pd.DataFrame({"image_id": IDS, "label": labels}).to_csv(path, index=False)
    members = [{"name": "vit_a", "weight": 2.0}, {"name": "swin_b", "weight": 1}, "cnn_c"]
    facts = {"notebook": "paddy_train", "commit": "0123456789abcdef", "members": members,
             "twins": "identical",
             "holdout": {"wrong": wrong, "images": 2081}, "sha256": sha256(path),
             "created": "2026-05-01T11:00:00+00:00"}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def entry(path, public="", private="", ref=1):
    facts = {"ref": ref, "name": path.name, "time": NOON, "bytes": path.stat().st_size}
    return facts | {"public": public, "private": private}


def test_a_row_joins_file_notebook_commit_members_error_and_scores_in_images(folder):
    path = write(folder, "one")
    ledger.update([entry(path, "0.98846", "0.98732")])
    row = pd.read_csv(folder / "ledger.csv", dtype=str).iloc[0]
    assert dict(row) == {
        "ref": "1", "time": "2026-05-01T12:00:00", "file": "one.csv", "sha256": sha256(path),
        "notebook": "paddy_train", "commit": "0123456789abcdef", "members": "vit_a*2 swin_b cnn_c",
        "twins": "identical",
        "holdout_wrong": "37", "holdout_images": "2081", "holdout_error": "0.01778",
        "public": "0.98846", "private": "0.98732", "public_right": "2571", "private_right": "857",
    }  # fmt: skip


def test_scores_that_arrive_later_fill_the_row_and_nothing_is_lost_again(folder):
    path = write(folder, "one")
    ledger.update([entry(path)])
    path.write_text("edited since")
    ledger.update([entry(path, "0.98846")])
    (row,) = ledger.update([entry(path)]).itertuples()
    assert row.public == "0.98846" and len(row.sha256) == 64
    (row,) = ledger.update([entry(path, "0.5")]).itertuples()  # of another board
    assert (row.public, row.public_right) == ("0.5", "")


def test_the_board_shows_images_with_their_band_best_first(folder):
    entries = [
        entry(write(folder, "low", 60), "0.97770", "0.97004", ref=1),
        entry(write(folder, "high"), "0.98769", "", ref=2),
        entry(write(folder, "waiting"), ref=3),
    ]
    lines = ledger.board(ledger.update(entries)).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["high.csv", "low.csv", "waiting.csv"]
    assert "2,569 ± 5.6" in lines[1] and "37 ± 6.0 of 2,081 wrong" in lines[1]
    assert "2,543 ± 7.5" in lines[2] and "842 ± 5.0" in lines[2]


def test_the_relation_of_error_and_score_needs_three_files(folder):
    assert "yet" in ledger.relation(sent.read_ledger())
    scores = {30: "0.98769", 40: "0.98423", 50: "0.97770"}
    entries = [entry(write(folder, f"n{n}", n), score, ref=n) for n, score in scores.items()]
    assert "three" in ledger.relation(ledger.update(entries[:2]))
    line = ledger.relation(ledger.update(entries))
    assert "predicts 50.0 of 2,601 wrong, the public score shows 43.7 ± 6.6" in line
    assert "correlation is 0.98" in line


def test_the_two_to_choose_are_the_best_and_the_most_different_as_good_one(folder):
    table = ledger.update([
        entry(write(folder, "best", wrong=30, changed=0), ref=1),
        entry(write(folder, "near", wrong=33, changed=2), ref=2),
        entry(write(folder, "far", wrong=35, changed=9), ref=3),
        entry(write(folder, "worse", wrong=60, changed=15), ref=4),
    ])
    first, second = ledger.choose(table).splitlines()
    assert first.startswith(f"1. best.csv, {NOON_SENT}: {error_phrase(30, 2081)}")
    assert second.startswith(f"2. far.csv, {NOON_SENT}: {error_phrase(35, 2081)}, 9 labels differ")
    (folder / "far.csv").write_text("replaced since\n")
    assert ledger.choose(table).splitlines()[1] == second
    sent.by_ref(3).unlink()
    assert ledger.choose(table).splitlines()[1].startswith("2. near.csv")


def test_with_one_file_there_is_no_second_to_choose(folder):
    path = write(folder, "one")
    table = ledger.update([entry(path, ref=1), entry(path, ref=2)])
    assert "2. no other file" in ledger.choose(table)
    assert "nothing to choose" in ledger.choose(table.iloc[:0])


def test_when_and_with_which_score_bytes_were_sent_is_known_whatever_their_name(folder):
    one, two = (write(folder, name, changed=n) for n, name in enumerate(("one", "two")))
    ledger.update([entry(one, "0.98846"), entry(two, ref=2)])
    other = one.rename(folder / "other.csv")
    found = "on 2026-05-01 12:00 UTC as one.csv, public score 0.98846"
    assert ledger.sent_before(other) == found
    assert ledger.sent_before(write(folder, "new", changed=7)) == ""
    sent.ledger_path().unlink()  # Kaggle's list and the copies fill it again
    ledger.update([entry(two, ref=2)])
    assert ledger.sent_before(two).endswith("as two.csv, no score known yet")
