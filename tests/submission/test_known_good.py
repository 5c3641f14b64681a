"""A submission beside earlier ones: which is known to be good, and what excuses a difference."""

import json

import numpy as np
import pandas as pd
import pytest

from src.core import sha256
from src.submission.guard import check, show
from src.submission.known_good import changed_rows, known_good, reason_to_differ
from src.submission.sent import ledger_path
from tests.small_submissions import IDS, TRUTH, csv_of, mistaken, probs_of, texts, with_changes


@pytest.fixture
def sent(folder):
    """The folder of what was sent."""
    return folder.parent / "work" / "submissions" / "sent"


def scored(**scores):
    """A ledger with the public score of each file, by its name; "" where there is none yet."""
    digests = [sha256(next(ledger_path().parent.rglob(f"{name}.csv"))) for name in scores]
    rows = {"ref": range(len(scores)), "sha256": digests, "public": list(scores.values())}
    pd.DataFrame(rows).to_csv(ledger_path(), index=False)


def origin(path, models=1, wrong=45, images=100, **facts):
    """Write the provenance of the CSV at `path`, and return it."""
    parts = [{"name": f"vit_{n}", "models": {f"vit_{n}": {"sha256": "0"}}} for n in range(models)]
    record = {"members": parts, "holdout": {"wrong": wrong, "images": images}}
    record |= {"sha256": sha256(path), **facts}
    path.with_suffix(".json").write_text(json.dumps(record))
    return record


# Which file is known to be good


def test_of_equal_files_the_copy_of_what_was_sent_counts(sent):
    copy, current = (csv_of(path, TRUTH) for path in (sent / "2026_a.csv", sent.parent / "a.csv"))
    scored(a="0.98")
    assert known_good() == [copy]
    copy.unlink()
    assert known_good() == [current]
    origin(current, good=False)
    assert known_good() == []


def test_only_the_best_public_score_still_here_is_known_to_be_good(sent):
    for number, name in enumerate(("low", "gone", "high", "waiting")):
        csv_of(sent / f"{name}.csv", with_changes(TRUTH, number))
    assert known_good() == []  # sent, but without a score
    scored(low="0.55", gone="0.99", high="0.98", waiting="")
    csv_of(sent / "gone.csv", with_changes(TRUTH, 9))
    assert known_good() == [sent / "high.csv"]


def test_what_the_user_marks_comes_first_and_what_was_sent_by_force_does_not_count(sent):
    marked, best, moved, second = (
        csv_of(sent / f"{name}.csv", with_changes(TRUTH, number))
        for number, name in enumerate(("marked", "best", "moved", "second"))
    )
    origin(marked, good=True)
    origin(best, good=False)
    origin(moved, forced=["rows are in reverse order"])
    scored(best="0.99", moved="0.98", second="0.97")
    assert known_good() == [marked, second]


# What excuses a difference


def test_a_weak_first_submission_does_not_refuse_a_better_one(folder, sent):
    weak = csv_of(sent / "weak.csv", mistaken(TRUTH, 0.45, seed=1))
    old = origin(weak)
    scored(weak="0.55")
    new = csv_of(folder.parent / "new.csv", mistaken(TRUTH, 0.05, seed=2))

    def first(**facts):
        origin(new, **facts)
        return texts(check(new, folder))[0]

    line = first(models=3)
    assert line.startswith("remark: ") and line.endswith("3 models instead of 1")
    assert first(models=1, wrong=10).startswith("remark: ")
    line = first(models=1, wrong=40)
    assert line.startswith("error: ") and line.endswith('put "good": false into weak.json')
    weak.with_suffix(".json").write_text(json.dumps({**old, "sha256": "of other bytes"}))
    assert first(models=3).startswith("error: ")


@pytest.mark.parametrize("models, wrong, reason", [
    (2, 20, "hold-out 20 of 100"), (2, 35, ""), (3, 45, "3 models instead of 2"),
    (3, 70, ""),  # clearly worse
])  # fmt: skip
def test_reasons_are_a_clearly_smaller_error_or_more_models(tmp_path, models, wrong, reason):
    path = csv_of(tmp_path / "a.csv", TRUTH)
    old, new = origin(path, models=2, wrong=40), origin(path, models=models, wrong=wrong)
    found = reason_to_differ(new, old)
    assert found.startswith(reason) and bool(found) == bool(reason)
    assert reason_to_differ(new, {}) == ""  # nothing is known of the other


def test_no_reason_excuses_rows_that_are_shifted(folder, sent):
    weak = csv_of(sent / "weak.csv", mistaken(TRUTH, 0.3, seed=1))
    origin(weak, wrong=30)
    new = csv_of(folder.parent / "new.csv", pd.Series(np.roll(TRUTH, 1), IDS))
    origin(new, models=3, wrong=5)
    (line,) = texts(check(new, folder, [weak]))
    assert line.startswith("error: rows are shifted down by one from row")


# Beside a good file


@pytest.mark.parametrize("changes, kind", [(2, "remark"), (40, "remark"), (41, "error")])
def test_agreement_below_nine_tenths_is_refused(folder, tmp_path, capsys, changes, kind):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    found = check(csv_of(tmp_path / "a.csv", with_changes(TRUTH, changes)), folder, [good])
    assert texts(found, "compared") == [f"with {good}, known to be good"]
    assert found[0].kind == kind and found[0].text.startswith(f"{changes} of 400 rows differ")
    assert f"({1 - changes / 400:.2%} agree)" in found[0].text
    assert [row.split()[0] for row in found[0].rows] == IDS[:changes]
    show(found[:1])
    shown = len(capsys.readouterr().out.splitlines()) - 1
    assert shown == {2: 2, 40: 21, 41: 41}[changes]  # of a remark 20 and how many more


def test_changed_rows_carry_both_labels_and_the_margin_the_surest_first():
    new = with_changes(TRUTH, 2)
    probs = probs_of(new)
    probs.loc[IDS[0]] = 0.25
    probs.loc[IDS[0], new[IDS[0]]] = 0.5
    wanted = [(1, "+0.700"), (0, "+0.250")]  # 0.8 - 0.1 and 0.5 - 0.25
    assert changed_rows(new, TRUTH, probs) == [
        f"{IDS[n]}  {TRUTH.iloc[n]} → {new.iloc[n]}  margin {margin}" for n, margin in wanted
    ]


def test_an_identical_earlier_file_is_named(folder, sent, tmp_path):
    twin = csv_of(sent / "twin.csv", TRUTH)
    (line,) = texts(check(csv_of(tmp_path / "a.csv", TRUTH), folder))
    assert line == f"remark: identical to {twin}; it would score the same"


def test_a_good_file_of_another_test_set_is_not_compared(folder, tmp_path):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH[:100])
    found = check(csv_of(tmp_path / "a.csv", TRUTH), folder, [good])
    assert texts(found) == []
    assert texts(found, "not compared")[0].startswith(f"with {good}, which has other images")
