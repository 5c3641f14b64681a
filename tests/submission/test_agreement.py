"""With nothing sent yet, a submission is compared with what its members predict by themselves."""

import json

import numpy as np
import pandas as pd
import pytest
from small_bundles import bundle_in, call, sure

from src import competition
from src.core import UserError, sha256
from src.ensemble import open_ensemble, write_ensemble
from src.evidence import write_probs
from src.submission.__main__ import main
from src.submission.guard import guard
from src.submission.members import Predicted, member_findings, read_members
from src.submission.sent import read_provenance
from src.submission.write import write_submission
from tests.small_submissions import HELD, IDS, TRUTH, csv_of, ensemble_of, probs_of, texts

LABELS, MEMBERS, ORIGIN = ensemble_of(wrong=0.45)  # like the demo's
UNNAMED = ensemble_of(wrong=0.25)
EXCHANGED = {"hispa": "blast", "blast": "hispa", "normal": "normal"}
ORDER = "rows are in another order"
DAMAGES = {  # how labels are damaged, and the reason that is given
    "down": (lambda labels: np.roll(labels, 1), "rows are shifted down by one"),
    "by seven": (lambda labels: np.roll(labels, 7), ORDER),
    "exchanged": (lambda labels: labels.map(EXCHANGED),
                  "class names are exchanged: hispa is called blast, blast is called hispa"),
    "the last half by two": (lambda labels: [*labels[:200], *np.roll(labels, 2)[200:]], ORDER),
    "a block": (lambda labels: [*labels[:40], *np.roll(labels, 1)[40:220], *labels[220:]], ORDER),
}  # fmt: skip
DOWN = pd.Series(np.roll(LABELS, 1), IDS)


@pytest.mark.parametrize("damage, provenance", [
    *((damage, True) for damage in DAMAGES),
    *((damage, False) for damage in [*DAMAGES][:3]),  # else it may be a weaker file's error
])  # fmt: skip
def test_damage_is_an_error_with_its_reason_also_where_no_members_are_named(damage, provenance):
    labels, members, origin = (LABELS, MEMBERS, ORIGIN) if provenance else (*UNNAMED[:2], {})
    change, reason = DAMAGES[damage]
    damaged = pd.Series(np.array(change(labels), object), IDS)
    assert reason in texts(member_findings(damaged, members, origin, HELD), "error")[0]


def test_a_member_that_is_right_on_a_third_of_ten_classes_finds_another_order():
    random, images = np.random.default_rng(1), [f"{number}.jpg" for number in range(3000)]
    truth, other = (pd.Series(random.choice([*"abcdefghij"], 3000), images) for _ in range(2))
    table = pd.get_dummies(truth.where(random.random(3000) < 0.3, other)).astype(float)
    members, labels = [Predicted("vit", table[1000:], table[:1000])], truth[:1000]
    assert texts(member_findings(labels, members, {}, truth), "error") == []
    damaged = pd.Series(np.roll(labels, 7), labels.index)
    assert ORDER in texts(member_findings(damaged, members, {}, truth), "error")[0]


def test_an_honest_weak_ensemble_passes_and_says_what_it_was_compared_with(folder):
    table = pd.DataFrame({"image_id": IDS, "label": [*LABELS]})
    found = guard(table, folder / "a.csv", folder, (), ORIGIN, MEMBERS, None)
    assert texts(found, "error") == []
    (line,) = texts(found, "compared")
    assert "3 members" in line and "67% agree with vit_1 (refused if surely below 53%)" in line
    assert "--good FILE" in texts(found, "not compared")[0]


@pytest.mark.parametrize("wrong, unnamed", [
    (0.6, "not compared"), (0.3, "compared"), (0.05, "compared"),
])  # fmt: skip
def test_honest_ensembles_are_never_refused_and_weak_ones_not_called_compared(wrong, unnamed):
    for seed in range(0, 100, 10):
        labels, members, origin = ensemble_of(wrong, 3, seed)
        for known, kind in ((origin, "compared"), ({}, unnamed)):
            assert [f.kind for f in member_findings(labels, members, known, HELD)] == [kind]


def test_a_shift_is_found_without_a_hold_out_but_not_called_compared():
    blind = [member._replace(holdout=member.holdout[:0]) for member in MEMBERS]
    (found,) = member_findings(LABELS, blind, {}, HELD)
    assert found.kind == "not compared" and "vit_0, vit_1, vit_2" in found.text
    assert "order of rows and class names alone were compared" in found.text
    assert "shifted" in texts(member_findings(DOWN, blind, {}, HELD), "error")[0]


def test_one_member_that_disagrees_alone_is_named():
    first, *others = MEMBERS
    odd = first._replace(test=first.test.iloc[::-1].set_axis(first.test.index))
    (line,) = texts(member_findings(LABELS, [odd, *others], ORIGIN, HELD), "error")
    assert "agree with vit_0 (refused if surely below 56%)" in line


def test_a_member_that_prefers_one_class_refuses_no_right_file():
    confused = {"hispa": "blast", "normal": "blast"}
    held, test = (probs_of(truth.replace(confused)) for truth in (HELD, TRUTH))
    found = member_findings(TRUTH, [Predicted("vit", held, test)], {}, HELD)
    assert texts(found, "error") == []


def test_a_handful_of_images_refuses_nothing():
    first, origin = IDS[:9], {"expected": {"images": 200, "agree": {"vit": 200}}}
    member = Predicted("vit", probs_of(HELD), probs_of(pd.Series("hispa", first)))
    labels = pd.Series(["blast"] * 8 + ["hispa"], first)
    (found,) = member_findings(labels, [member], origin, HELD)
    assert found.kind == "not compared" and "were compared" not in found.text


# Read from the files of models/


@pytest.fixture
def models(folder):
    """The members' files; their .pkl are not needed."""
    made = folder.parent / "work" / "models"
    for name in IDS:
        (folder / "test_images" / name).touch()
    test = competition.test_fingerprint(folder)
    for member in MEMBERS:
        meta = {"model": member.name, "sha256": f"of {member.name}", "tta": {}}
        for split, table, images in (("valid", member.holdout, ""), ("test", member.test, test)):
            path = made / f"{member.name}.{split}.parquet"
            write_probs(path, table, None, {**meta, "split": split, "images": images})
    return made


def named(**hashes):
    """A provenance that names members by the sha256 of their models."""
    return {"members": [{"name": n, "models": {n: {"sha256": h}}} for n, h in hashes.items()]}


def test_the_members_that_the_provenance_names_are_read_and_no_other(folder, models):
    (member,), unread = read_members(named(vit_1="of vit_1"), folder)
    assert member.name == "vit_1" and unread == []
    pd.testing.assert_frame_equal(member.test.loc[IDS], MEMBERS[1].test, check_names=False,
                                  check_dtype=False)
    for members in ([], ["other_models"]):  # else all there are
        read, (unread,) = read_members({"members": members}, folder)
        assert len(read) == 3 and "its .json names none" in unread.text


def test_the_folds_of_a_member_are_averaged(folder, models):
    parts = {name: {"sha256": f"of {name}"} for name in ("vit_0", "vit_1")}
    (member,), _ = read_members({"members": [{"name": "both", "models": parts}]}, folder)
    assert member.name == "both" and len(member.holdout) == 400
    mean = (MEMBERS[0].test + MEMBERS[1].test) / 2
    pd.testing.assert_frame_equal(member.test.loc[IDS], mean, check_names=False, check_dtype=False)


@pytest.mark.parametrize("stale, used", [("model", ["vit_1"]), ("test set", [])])
def test_a_stale_member_is_not_used_and_named(folder, models, stale, used):
    origin = named(vit_0="retrained" if stale == "model" else "of vit_0", vit_1="of vit_1")
    if stale == "test set":
        (folder / "test_images" / IDS[0]).write_text("other bytes")
    read, unread = read_members(origin, folder)
    assert [member.name for member in read] == used
    assert unread[0].kind == "not compared" and "vit_0.test.parquet is" in unread[0].text


# Both ways to the guard


def test_check_refuses_a_shifted_file_and_calls_none_fit_that_it_could_not_compare(folder, models):
    def check(labels):
        path = csv_of(models.parent / "submissions" / "paddy_train.csv", labels)
        origin = named(vit_0="of vit_0", vit_1="of vit_1") | ORIGIN | {"sha256": sha256(path)}
        path.with_suffix(".json").write_text(json.dumps(origin))
        done = call(main, "check", path, "--data", folder)
        return done.returncode, done.stdout.splitlines()[-1].partition(".csv: ")[2]

    assert check(DOWN) == (1, "not fit to submit, 1 error, 0 remarks")
    assert check(LABELS) == (0, "fit to submit, 0 remarks")
    for file in models.iterdir():
        file.unlink()
    code, verdict = check(DOWN)
    assert code == 0 and verdict.endswith("in wrong rows would pass, 0 remarks")


def test_writing_compares_with_the_members_at_hand(folder, sixty, sixty_once):
    with pytest.raises(UserError, match="is not written: rows are shifted down"):
        write_submission(probs_of(DOWN), folder, "moved", ORIGIN, members=MEMBERS)
    truth, classes = competition.train_table(sixty_once).label, competition.classes(sixty_once)
    for name in ("one", "two"):
        bundle_in(sixty, sixty_once, name, valid=sure(dict(truth), classes))
    record = read_provenance(write_ensemble(open_ensemble()))
    assert record["expected"]["agree"] == {"one": 60, "two": 60}
    assert any("with one, two" in line for line in record["findings"])
