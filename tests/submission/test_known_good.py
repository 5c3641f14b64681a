"""A submission beside earlier ones: which is known to be good, and what excuses a difference."""

import json

import numpy as np
import pandas as pd
import pytest

from src.core import sha256
from src.submission import sent
from src.submission.guard import changed_rows, check, known_good, reason_to_differ, show
from tests.small_submissions import IDS, TRUTH, csv_of, mistaken, probs_of, texts, with_changes


def origin(path, models=1, wrong=45, **facts):
    """Write the provenance of the CSV at `path`."""
    parts = [{"name": f"vit_{n}", "models": {f"vit_{n}": {"sha256": "0"}}} for n in range(models)]
    record = {"members": parts, "holdout": {"wrong": wrong, "images": 100}}
    record |= {"sha256": sha256(path), **facts}
    path.with_suffix(".json").write_text(json.dumps(record))


def copy_of(labels, public, **facts):
    """A copy of what was sent, with its public score in the ledger, "" where there is none yet."""
    path = csv_of(sent.sent_dir() / "new.csv", labels)
    path = path.rename(path.with_name(f"20260501T120000Z_{sha256(path)[:8]}_paddy_train.csv"))
    origin(path, **facts)
    table = sent.read_ledger()
    table.loc[str(len(table))] = pd.Series({"sha256": sha256(path), "public": public})
    table.to_csv(sent.ledger_path())
    return path


def test_only_the_best_public_score_still_here_is_known_to_be_good(folder):
    copy_of(TRUTH, "")
    assert known_good() == []  # sent, but without a score
    copy_of(with_changes(TRUTH, 1), "0.55")
    high = copy_of(with_changes(TRUTH, 2), "0.98")
    copy_of(with_changes(TRUTH, 3), "0.99").unlink()
    assert known_good() == [high]


def test_what_the_user_calls_bad_or_was_sent_by_force_does_not_count(folder):
    copy_of(TRUTH, "0.96")
    marked = copy_of(with_changes(TRUTH, 1), "0.97", forced=["a reason"], good=True)
    copy_of(with_changes(TRUTH, 2), "0.98", forced=["rows are in reverse order"])
    copy_of(with_changes(TRUTH, 3), "0.99", good=False)
    assert known_good() == [marked]


# What excuses a difference


def test_a_weak_first_submission_does_not_refuse_a_better_one(folder):
    weak = copy_of(mistaken(TRUTH, 0.45, seed=1), "0.55")
    new = csv_of(folder.parent / "new.csv", mistaken(TRUTH, 0.05, seed=2))

    def first(**facts):
        origin(new, **facts)
        return texts(check(new, folder))[0]

    line = first(models=3)
    assert line.startswith("remark: ") and line.endswith("3 models instead of 1")
    line = first(models=1, wrong=40)
    assert line.startswith("error: ") and line.endswith(f'"good": false into {weak.stem}.json')
    origin(weak, sha256="of other bytes")
    assert first(models=3).startswith("error: ")


@pytest.mark.parametrize("members, wrong, reason", [
    (1, 20, "hold-out 20 of 100"), (1, 35, ""), (2, 45, "4 models instead of 2"),
    (2, 70, ""),  # clearly worse
])  # fmt: skip
def test_reasons_are_a_clearly_smaller_error_or_more_models(members, wrong, reason):
    two_folds = {"models": {"fold_0": {}, "fold_1": {}}}
    old, new = ({"members": [two_folds] * n, "holdout": {"wrong": w, "images": 100}}
                for n, w in ((1, 40), (members, wrong)))
    found = reason_to_differ(new, old)
    assert found.startswith(reason) and bool(found) == bool(reason)
    assert reason_to_differ(new, {}) == ""  # nothing is known of the other
    assert reason_to_differ({"members": ["vit", "swin"]}, {"members": ["vit"]}).startswith("2 ")


def test_no_reason_excuses_rows_that_are_shifted(folder):
    copy_of(mistaken(TRUTH, 0.3, seed=1), "0.7", wrong=30)
    new = csv_of(folder.parent / "new.csv", pd.Series(np.roll(TRUTH, 1), IDS))
    origin(new, models=3, wrong=5)
    (line,) = texts(check(new, folder))
    assert line.startswith("error: rows are shifted down by one from row")


# Beside a good file


@pytest.mark.parametrize("changes, kind", [(40, "remark"), (41, "error")])
def test_agreement_below_nine_tenths_is_refused(folder, tmp_path, capsys, changes, kind):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH)
    found = check(csv_of(tmp_path / "a.csv", with_changes(TRUTH, changes)), folder, [good])
    assert texts(found, "compared") == [f"with {good}, known to be good"]
    assert found[0].kind == kind and found[0].text.startswith(f"{changes} of 400 rows differ")
    assert f"({1 - changes / 400:.2%} agree)" in found[0].text
    show(found[:1])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == (IDS[:changes] if kind == "error" else [])


def test_changed_rows_carry_both_labels_and_the_margin_the_surest_first():
    new = with_changes(TRUTH, 2)
    probs = probs_of(new)
    probs.loc[IDS[0]] = 0.25
    probs.loc[IDS[0], new[IDS[0]]] = 0.5
    wanted = [(1, "+0.700"), (0, "+0.250")]  # 0.8 - 0.1 and 0.5 - 0.25
    assert changed_rows(new, TRUTH, probs) == [
        f"{IDS[n]}  {TRUTH.iloc[n]} → {new.iloc[n]}  margin {margin}" for n, margin in wanted
    ]


def test_an_identical_earlier_file_is_named(folder, tmp_path):
    twins = [copy_of(TRUTH, ""), csv_of(sent.sent_dir().parent / "twin.csv", TRUTH)]
    found = texts(check(csv_of(tmp_path / "a.csv", TRUTH), folder))
    assert found == [f"remark: identical to {twin}; it would score the same" for twin in twins]


def test_a_good_file_of_another_test_set_is_not_compared(folder, tmp_path):
    good = csv_of(tmp_path / "good" / "g.csv", TRUTH[:100])
    found = check(csv_of(tmp_path / "a.csv", TRUTH), folder, [good])
    assert texts(found) == [] and f"with {good}" in texts(found, "not compared")[0]
