"""With nothing sent yet, a submission is compared with what its members predict by themselves."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import draw_competition
from small_bundles import bundle_in, call, sure

from src import competition
from src.core import UserError
from src.ensemble import open_ensemble, write_ensemble
from src.evidence import write_probs
from src.submission import release
from src.submission.__main__ import main
from src.submission.guard import guard
from src.submission.members import Members, Predicted, member_findings, read_members
from tests.small_submissions import (
    IDS,
    TRAINING,
    TRUTH,
    compared,
    csv_of,
    ensemble_of,
    probs_of,
)  # fmt: skip

LABELS, MEMBERS, ORIGIN = ensemble_of(wrong=0.45)  # like the demo's
UNNAMED = ensemble_of(wrong=0.25)
HELD = pd.Series(TRAINING, [f"1{number:05d}.jpg" for number in range(400)])
ORDER = np.random.default_rng(5).permutation(400)
DAMAGES = {  # how labels are damaged, and the reason that is given
    "down": (lambda labels: rows(np.roll(labels, 1)), "rows are shifted down by one from row"),
    "up": (lambda labels: rows(np.roll(labels, -1)), "rows are shifted up by one from row"),
    "down from the middle": (lambda labels: half(labels, 1), "rows are shifted down by one"),
    "up from the middle": (lambda labels: half(labels, -1), "rows are shifted up by one"),
    "by seven": (lambda labels: rows(np.roll(labels, 7)), "rows are in another order"),
    "reversed": (lambda labels: rows(labels[::-1]), "rows are in reverse order"),
    "permuted": (lambda labels: rows(labels.to_numpy()[ORDER]), "rows are in another order"),
    "ids permuted": (lambda labels: labels.set_axis(np.array(IDS)[ORDER]), "in another order"),
    "sorted by label": (lambda labels: rows(sorted(labels)), "rows are in another order"),
    "exchanged": (lambda labels: labels.replace({"hispa": "blast", "blast": "hispa"}),
                  "class names are exchanged: hispa is called blast, blast is called hispa"),
    "the last half by two": (lambda labels: half(labels, 2), "rows are in another order"),
    "a block": (lambda labels: rows([*labels[:40], *np.roll(labels, 1)[40:220], *labels[220:]]),
                "rows are in another order"),
}  # fmt: skip
DOWN = pd.Series(np.roll(LABELS, 1), IDS)


def rows(values):
    return pd.Series(np.array(values, object), IDS)


def half(labels, step):
    return rows([*labels[:200], *np.roll(labels, step)[200:]])


def errors(findings):
    return [finding.text for finding in findings if finding.kind == "error"]


@pytest.mark.parametrize("damage, voted", [
    *((damage, True) for damage in DAMAGES),
    *((damage, False) for damage in [*DAMAGES][:10]),  # else it may be a weaker file's error
])  # fmt: skip
def test_damage_is_an_error_with_its_reason_also_where_no_members_are_named(damage, voted):
    labels, members, origin = (LABELS, MEMBERS, ORIGIN) if voted else (*UNNAMED[:2], {})
    change, reason = DAMAGES[damage]
    damaged = change(labels).reindex(IDS)
    assert reason in errors(member_findings(damaged, members, origin, HELD))[0]


def test_a_member_that_is_right_on_a_third_of_ten_classes_finds_another_order():
    random, images = np.random.default_rng(1), [f"{number}.jpg" for number in range(3000)]
    truth, other = (pd.Series(random.choice([*"abcdefghij"], 3000), images) for _ in range(2))
    table = pd.get_dummies(truth.where(random.random(3000) < 0.3, other)).astype(float)
    members, labels = Members([Predicted("vit", table[1000:], table[:1000])]), truth[:1000]
    assert errors(member_findings(labels, members, {}, truth)) == []
    damaged = pd.Series(np.roll(labels, 7), labels.index)
    assert "in another order" in errors(member_findings(damaged, members, {}, truth))[0]


def test_an_honest_weak_ensemble_passes_and_says_what_it_was_compared_with(folder):
    table = pd.DataFrame({"image_id": IDS, "label": [*LABELS]})
    found = guard(table, folder, (), ORIGIN, MEMBERS)
    assert errors(found) == []
    done, lacking = compared(found)
    assert done == ("with 3 members, image by image: 64% agree with vit_0 (refused below 56%), "
                    "70% agree with vit_2 (refused below 58%), "
                    "67% agree with vit_1 (refused below 53%)")
    assert lacking == "with a known good file (none is known; --good FILE names one)"
    found = guard(table, folder, (), {}, MEMBERS._replace(voted=False))
    assert errors(found) == []
    assert compared(found)[0].startswith("with 3 members of models/ (the CSV names none)")


@pytest.mark.parametrize("wrong", [0.6, 0.3, 0.05])
def test_honest_ensembles_are_never_refused(wrong):
    for seed in range(0, 100, 10):
        labels, members, origin = ensemble_of(wrong, 3, seed)
        for known in (origin, {}):
            assert errors(member_findings(labels, members, known, HELD)) == []


def test_without_a_hold_out_the_order_of_rows_is_compared_all_the_same():
    blind = MEMBERS._replace(tables=[m._replace(holdout=m.holdout[:0]) for m in MEMBERS.tables])
    done, lacking = compared(member_findings(LABELS, blind, {}, HELD))
    assert done == "with 3 members, order of rows and class names alone"
    assert lacking.startswith("with vit_0, vit_1, vit_2 alone (too weak")
    assert "shifted" in errors(member_findings(DOWN, blind, {}, HELD))[0]


def test_members_that_cannot_know_the_order_are_not_compared():
    found = member_findings(LABELS[:9], MEMBERS, {}, HELD)
    assert compared(found)[0] == "" and "no better than in another order" in compared(found)[1]


def test_one_member_that_disagrees_alone_is_named():
    first, *others = MEMBERS.tables
    odd = first._replace(test=first.test.iloc[::-1].set_axis(first.test.index))
    for voted, severity in ((True, "error"), (False, "remark")):
        members = MEMBERS._replace(tables=[odd, *others], voted=voted)
        found = member_findings(LABELS, members, ORIGIN, HELD)[0]
        assert found.kind == severity
        assert found.text.endswith("other members agree; predict vit_0 again")


@pytest.mark.parametrize("names", [("normal", "hispa"), ("blast", "blast")])
def test_what_a_member_confuses_by_itself_refuses_no_right_file(names):
    confused = dict(zip(("hispa", "normal"), names, strict=True))
    held, test = (probs_of(truth.replace(confused)) for truth in (HELD, TRUTH))
    alone = Members([Predicted("vit", held, test)], voted=False)
    assert errors(member_findings(TRUTH, alone, {}, HELD)) == []


def test_a_handful_of_images_refuses_nothing():
    first, origin = IDS[:9], {"expected": {"images": 200, "agree": {"vit": 200}}}
    member = Predicted("vit", probs_of(HELD), probs_of(pd.Series("hispa", first)))
    labels = pd.Series(["blast"] * 8 + ["hispa"], first)
    assert errors(member_findings(labels, Members([member]), origin, HELD)) == []


# Read from the files of models/


@pytest.fixture
def models(folder):
    """The members' files; their .pkl are not needed."""
    made = folder.parent / "work" / "models"
    for name in IDS:
        (folder / "test_images" / name).touch()
    test = competition.test_fingerprint(folder)
    for member in MEMBERS.tables:
        meta = {"model": member.name, "sha256": f"of {member.name}", "tta": {}}
        for split, table, images in (("valid", member.holdout, ""), ("test", member.test, test)):
            path = made / f"{member.name}.{split}.parquet"
            write_probs(path, table, None, {**meta, "split": split, "images": images})
    return made


def named(**hashes):
    """A provenance that names members by the sha256 of their models."""
    return {"members": [{"name": n, "models": {n: {"sha256": h}}} for n, h in hashes.items()]}


def test_the_members_that_the_provenance_names_are_read_and_no_other(folder, models):
    read = read_members(named(vit_1="of vit_1"), folder, models)
    assert [member.name for member in read.tables] == ["vit_1"] and read.voted
    test = MEMBERS.tables[1].test.astype("float32")
    pd.testing.assert_frame_equal(read.tables[0].test.loc[IDS], test, check_names=False,
                                  check_dtype=False)


def test_the_folds_of_a_member_are_read_together(folder, models):
    parts = {name: {"sha256": f"of {name}"} for name in ("vit_0", "vit_1")}
    origin = {"members": [{"name": "both", "models": parts}]}
    (member,) = read_members(origin, folder, models).tables
    assert member.name == "both" and len(member.holdout) == 400 and len(member.test) == 400


def test_without_provenance_what_lies_in_models_is_read(folder, models):
    read = read_members({}, folder, models)
    assert len(read.tables) == 3 and not read.unread and not read.voted


@pytest.mark.parametrize("spoil", ["another model", "another test set", "no file", "no parquet"])
def test_a_stale_member_is_not_used_and_named(folder, models, spoil):
    origin = named(vit_0="of vit_0", vit_1="of vit_1")
    if spoil == "another model":
        origin = named(vit_0="retrained", vit_1="of vit_1")
    elif spoil == "another test set":
        (folder / "test_images" / IDS[0]).write_text("other bytes")
    elif spoil == "no file":
        (models / "vit_0.test.parquet").unlink()
    else:
        (models / "vit_0.test.parquet").write_text("no parquet")
    read = read_members(origin, folder, models)
    used = [] if spoil == "another test set" else ["vit_1"]
    assert [member.name for member in read.tables] == used
    assert "vit_0.test.parquet is" in read.unread[0]
    assert read.unread[0] in compared(member_findings(LABELS, read, {}, HELD))[1]


# Both ways to the guard


def submission(models, labels):
    return csv_of(models.parent / "submissions" / "paddy_train.csv", labels)


def test_check_calls_nothing_fit_that_it_compared_with_nothing(folder, models):
    for file in models.iterdir():
        file.unlink()
    done = call(main, "check", submission(models, DOWN), "--data", folder)
    assert done.returncode == 0 and "fit to submit" not in done.stdout
    assert done.stdout.splitlines()[-1].endswith("labels in wrong rows would pass, 0 remarks")


def test_check_and_submit_refuse_a_shifted_file_with_nothing_sent_yet(folder, models):
    path = submission(models, DOWN)
    done = call(main, "check", path, "--data", folder)
    assert done.returncode == 1 and "not fit to submit, 1 errors" in done.stdout
    with pytest.raises(UserError, match="is not sent: rows are shifted down"):
        release(path, folder, force=False)
    done = call(main, "check", submission(models, LABELS), "--data", folder)
    assert done.returncode == 0 and "fit to submit" in done.stdout.splitlines()[-1]


def test_writing_compares_with_the_members_at_hand(tmp_path, monkeypatch):
    data = draw_competition(tmp_path / "data", each=20, test=60)
    monkeypatch.setenv("PADDY_DATA", str(data))
    monkeypatch.setenv("PADDY_WORK", str(tmp_path))
    truth, classes = competition.train_table(data).label, competition.classes(data)
    for name in ("one", "two"):
        bundle_in(tmp_path / "models", data, name, valid=sure(dict(truth), classes))
    ensemble = open_ensemble()
    moved = [m.test.set_axis(np.roll(m.test.index, -1)) for m in ensemble.members]
    wrong = [m._replace(test=t) for m, t in zip(ensemble.members, moved, strict=True)]
    with pytest.raises(UserError, match="is not written: (rows are|class names)"):
        write_ensemble(ensemble._replace(members=wrong))
    record = json.loads(write_ensemble(ensemble).with_suffix(".json").read_text())
    assert record["expected"]["agree"] == {"one": 60, "two": 60}
    assert record["findings"][0].startswith("compared: with 2 members, image by image: 100% agree")
