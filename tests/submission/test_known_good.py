"""A submission beside earlier ones: which is known to be good, and what excuses a difference."""

import json

import numpy as np
import pandas as pd
import pytest

from src.core import sha256
from src.submission.finding import show
from src.submission.guard import guard
from src.submission.known_good import changed_rows, known_good, ledger_path, reason_to_differ
from tests.small_submissions import (
    IDS,
    TRUTH,
    compared,
    csv_of,
    lines,
    mistaken,
    probs_of,
    with_changes,
)  # fmt: skip


@pytest.fixture
def sent(folder):
    """The folder of what was sent."""
    made = folder.parent / "work" / "submissions" / "sent"
    made.mkdir(parents=True)
    return made


def scored(**scores):
    """A ledger with the public score of each file, by its name; "" where there is none yet."""
    paths = {name: next(ledger_path().parent.rglob(f"{name}.csv")) for name in scores}
    digests = [sha256(path) for path in paths.values()]
    rows = {"ref": range(len(paths)), "sha256": digests, "public": list(scores.values())}
    pd.DataFrame(rows).to_csv(ledger_path(), index=False)


def origin(path, models=1, wrong=45, images=100, **facts):
    """Write the provenance of the CSV at `path`, and return it."""
    names = {f"vit_{number}": {"sha256": "0"} for number in range(models)}
    members = [{"name": name, "models": {name: facts}} for name, facts in names.items()]
    record = {"members": members, "holdout": {"wrong": wrong, "images": images}, **facts}
    path.with_suffix(".json").write_text(json.dumps({"sha256": sha256(path), **record}))
    return record


# Which file is known to be good


def test_the_copy_of_what_was_sent_counts_and_the_users_word_beside_the_current_file(sent):
    copy, current = (csv_of(path, TRUTH) for path in (sent / "2026_a.csv", sent.parent / "a.csv"))
    scored(a="0.98")
    assert known_good() == [copy]
    copy.unlink()
    assert known_good() == [current]
    csv_of(copy, TRUTH)
    origin(current, good=False)
    assert known_good() == []


def test_only_the_best_public_score_still_here_is_known_to_be_good(sent):
    for number, name in enumerate(("low", "gone", "high", "waiting")):
        csv_of(sent / f"{name}.csv", with_changes(TRUTH, number))
    assert known_good() == []  # sent, but without a score
    scored(low="0.55", gone="0.99", high="0.98", waiting="")
    csv_of(sent / "gone.csv", with_changes(TRUTH, 9))
    assert known_good() == [sent / "high.csv"]


def test_what_was_sent_by_force_is_not_known_to_be_good(sent):
    moved = csv_of(sent / "moved.csv", TRUTH.iloc[::-1].set_axis(IDS))
    origin(moved, forced=["rows are in reverse order"])
    csv_of(sent / "right.csv", TRUTH)
    scored(moved="0.9", right="0.8")
    assert known_good() == [sent / "right.csv"]


def test_what_the_user_marks_comes_first(sent):
    marked, best, second = (
        csv_of(sent / f"{name}.csv", with_changes(TRUTH, number))
        for number, name in enumerate(("marked", "best", "second"))
    )
    origin(marked, good=True)
    origin(best, good=False)
    scored(best="0.98", second="0.97")
    assert known_good() == [marked, second]


# What excuses a difference


def test_a_weak_first_submission_does_not_refuse_a_better_one(folder, sent):
    weak = csv_of(sent / "weak.csv", mistaken(TRUTH, 0.45, seed=1))
    old = origin(weak)
    scored(weak="0.55")
    new = csv_of(folder.parent / "new.csv", mistaken(TRUTH, 0.05, seed=2))
    more, same = origin(new, models=3, wrong=40), origin(new, models=1, wrong=40)
    found = guard(new, folder, known_good(), more)
    assert found[0].kind == "remark"
    assert found[0].text.endswith("there is a reason to differ: 3 models instead of 1")
    line = lines(guard(new, folder, known_good(), same))[0]
    assert line.startswith("error: ") and line.endswith('put "good": false into weak.json')
    weak.with_suffix(".json").write_text(json.dumps({**old, "sha256": "of other bytes"}))
    assert lines(guard(new, folder, known_good(), more))[0].startswith("error: ")


def test_no_reason_excuses_more_than_both_hold_out_errors_allow(folder, sent):
    known = csv_of(sent / "known.csv", mistaken(TRUTH, 0.02, seed=1))
    origin(known, wrong=2)
    new = csv_of(folder.parent / "new.csv", mistaken(TRUTH, 0.4, seed=2))
    found = guard(new, folder, [known], origin(new, models=3, wrong=2))
    assert found[0].kind == "error" and "hold-out errors at most 14%" in found[0].text


def test_reasons_are_a_clearly_smaller_error_or_more_models(tmp_path):
    path = csv_of(tmp_path / "a.csv", TRUTH)
    old = origin(path, models=2, wrong=40)
    assert reason_to_differ(origin(path, models=2, wrong=20), old).startswith("hold-out 20 of 100")
    assert reason_to_differ(origin(path, models=2, wrong=35), old) == ""
    assert reason_to_differ(origin(path, models=3, wrong=45), old) == "3 models instead of 2"
    assert reason_to_differ(origin(path, models=3, wrong=70), old) == ""  # clearly worse
    assert reason_to_differ(origin(path, models=3), {}) == ""  # nothing known of the other


def test_no_reason_excuses_rows_that_are_shifted(folder, sent):
    weak = mistaken(TRUTH, 0.3, seed=1)
    origin(csv_of(sent / "weak.csv", weak), wrong=30)
    new = csv_of(folder.parent / "new.csv", pd.Series(np.roll(TRUTH, 1), IDS))
    reason = origin(new, models=3, wrong=5)
    (line,) = lines(guard(new, folder, [sent / "weak.csv"], reason))
    assert line.startswith("error: rows are shifted down by one from row")


# Beside a good file


@pytest.mark.parametrize("changes, kind", [(2, "remark"), (40, "remark"), (41, "error")])
def test_agreement_below_nine_tenths_is_refused(folder, tmp_path, changes, kind):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    found = guard(csv_of(tmp_path / "a.csv", with_changes(TRUTH, changes)), folder, [good])
    assert compared(found)[0] == f"with {good}, known to be good"
    assert found[0].kind == kind and found[0].text.startswith(f"{changes} of 400 rows differ")
    assert f"({1 - changes / 400:.2%} agree)" in found[0].text
    assert [row.split()[0] for row in found[0].rows] == IDS[:changes]


def test_changed_rows_carry_both_labels_and_the_margin_the_surest_first():
    new = with_changes(TRUTH, 2)
    probs = probs_of(new)
    probs.loc[IDS[0]] = 0.25
    probs.loc[IDS[0], new[IDS[0]]] = 0.5
    wanted = [(1, "+0.700"), (0, "+0.250")]  # 0.8 - 0.1 and 0.5 - 0.25
    assert changed_rows(new, TRUTH, probs) == [
        f"{IDS[n]}  {TRUTH.iloc[n]} → {new.iloc[n]}  margin {margin}" for n, margin in wanted
    ]


def test_a_remark_shows_the_first_changed_rows_and_counts_the_others(folder, tmp_path, capsys):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    show(guard(csv_of(tmp_path / "a.csv", with_changes(TRUTH, 25)), folder, [good])[:1])
    first, *rows, last = capsys.readouterr().out.splitlines()
    assert first.startswith("remark: 25 of 400 rows differ")
    assert len(rows) == 20 and "margin" not in rows[0]
    assert last == "  … and 5 more"


def test_only_the_closest_good_file_lists_its_rows(folder, tmp_path):
    near = csv_of(tmp_path / "good" / "near.csv", with_changes(TRUTH, 1))
    far = csv_of(tmp_path / "good" / "far.csv", with_changes(TRUTH, 30))
    found = guard(csv_of(tmp_path / "a.csv", TRUTH), folder, [far, near])
    assert [len(f.rows) for f in found if f.kind == "remark"] == [0, 1]


def test_an_identical_earlier_file_is_named(folder, tmp_path):
    twin = csv_of(tmp_path / "twin.csv", TRUTH, end="\r\n")
    (line,) = lines(guard(csv_of(tmp_path / "a.csv", TRUTH), folder))
    assert line == f"remark: identical to {twin}; it would score the same"


def test_a_good_file_of_another_test_set_is_not_compared(folder, tmp_path):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH[:100])
    found = guard(csv_of(tmp_path / "a.csv", TRUTH), folder, [good])
    assert lines(found) == []
    assert compared(found)[1].startswith(f"with {good}, which has other images")
