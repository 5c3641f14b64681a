"""Triage: what is promised of the images that stay, and which ones a person gets to see."""

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import draw_competition, refusal
from small_bundles import bundle_in, call, refused, strong_and_weak_in, sure
from small_tables import probs_of

from src import competition
from src.bundle import read_card
from src.ensemble.__main__ import main as average
from src.evidence import ALPHA
from src.looking.triage import disagreement, threshold
from src.triage import main

# The threshold


def test_the_threshold_is_the_lowest_that_the_images_above_it_prove():
    probs = np.repeat([0.9, 0.8, 0.5], [300, 300, 100])
    right = np.repeat([True, True, False], [300, 300, 100])
    # n right images of n prove 0.05 ** (1 / n): 0.99006 for 300, 0.99502 for 600.
    assert threshold(probs, right, 0.99) == threshold(probs, right, 0.995) == 0.8
    right[599] = False  # one of those at 0.8, though it stands last
    assert threshold(probs, right, 0.99) == 0.8  # 1 of 600 wrong proves 0.9921
    right[595:599] = False
    assert threshold(probs, right, 0.99) == 0.9


def test_an_impossible_wish_is_refused_with_what_can_be_proved_and_that_is_granted():
    probs, right = np.linspace(0.5, 0.99, 500), np.ones(500, dtype=bool)
    line = refusal(threshold, probs, right, 0.995)
    assert "500 held-out images prove at most 0.9940, about 1 − 3/500" in line
    assert threshold(probs, right, 0.994) == 0.5
    right[[480, 495]] = False  # among the surest
    line = refusal(threshold, probs, right, 0.99)
    assert "here 0.9874, the surest 500 with 2 wrong; write --right 0.9874 or less" in line
    assert threshold(probs, right, 0.9874) == 0.5
    assert "here 0.0000" in refusal(threshold, probs, ~right & (probs > 2), 0.9)


def test_images_of_one_probability_stay_or_go_together():
    probs, right = np.full(1000, 0.7), np.arange(1000) < 900
    assert "900" not in refusal(threshold, probs, right, 0.99).partition("surest")[2]


def test_the_promise_holds_in_nineteen_of_twenty_draws_and_without_the_bound_it_would_not():
    rng, wish, broken, naive = np.random.default_rng(0), 0.99, 0, 0
    for _ in range(200):
        probs = np.sort(rng.beta(8, 1, 2000))[::-1]
        wrong = rng.random(2000) < (1 - probs) ** 2  # the truth; 2.2 % in all
        least = threshold(probs, ~wrong, wish)
        broken += ((1 - probs[probs >= least]) ** 2).mean() > 1 - wish
        shares = wrong.cumsum() / np.arange(1, 2001)
        last = np.flatnonzero(shares <= 1 - wish)[-1]
        naive += ((1 - probs[: last + 1]) ** 2).mean() > 1 - wish
    assert broken <= 2 * ALPHA * 200 and naive > 3 * broken + 20


def test_members_disagree_where_each_is_sure_of_another_class_not_where_all_are_unsure():
    one = probs_of({"a": 1.0, "b": 0.5, "c": 0.9})
    other = probs_of({"c": 0.9, "b": 0.5, "a": 0.0})
    found = disagreement([one, other])
    assert found["a"] == pytest.approx(np.log(2), abs=1e-4)
    assert found["b"] == found["c"] == 0


# The command


def test_everyone_who_is_unsure_or_like_nothing_goes_to_a_person(sixty, tmp_path, monkeypatch):
    folder, odd = draw_competition(tmp_path / "data", each=20), '=1,"<script>".jpg'
    table = pd.read_csv(folder / "solution.csv").replace("200005.jpg", odd)
    (folder / "test_images" / "200005.jpg").rename(folder / "test_images" / odd)
    table.to_csv(folder / "solution.csv", index=False)
    table.assign(label="").to_csv(folder / "sample_submission.csv", index=False)
    monkeypatch.setenv("PADDY_DATA", str(folder))
    truth, classes = competition.train_table(folder).label, competition.classes(folder)
    answers, valid = competition.solution(folder), sure(dict(truth), competition.classes(folder))
    for name, unlike in (("one", 0), ("two", 1)):
        test = sure(dict(answers), classes)
        test.loc[odd] = np.roll([0.98, 0.01, 0.01], unlike)
        test.iloc[1] = [0.4, 0.35, 0.25]
        bundle_in(sixty, folder, name, valid=valid, test=test)
    assert refused(call(main, "--right", "0.9")).endswith("write one: python -m src.ensemble")
    assert call(average, "--force").returncode == 0
    done = call(main, "--right", "0.94")
    assert done.returncode == 0, done.stderr
    assert "to a person: 2 of 9 test images (22.2 %); 7 stay, of probability 0.8000" in done.stdout
    assert "0 of 60 wrong: 0.00 % (95 % interval 0.00 to 6.02)" in done.stdout
    assert "among the 7: 0.0, at most 0.4 with 95% confidence" in done.stdout
    assert "1 of 9 test images, about which members" in done.stdout
    assert "few of those that are none are found: docs/looking.md" in done.stdout
    assert "optimistic" not in done.stdout
    found = pd.read_csv(sixty.parent / "review" / "triage.csv", index_col="image_id")
    assert list(found) == ["label", "probability", "to_person", "reason"]
    assert found.reason.dropna().to_dict() == {table.image_id[1]: "below 0.8000",
                                               odd: "none of the classes?"}
    assert found.to_person.equals(found.reason.notna().rename("to_person"))
    sent = pd.read_csv(sixty.parent / "submissions" / "paddy_train.csv", index_col="image_id")
    assert found.label.loc[sent.index].equals(sent.label)


def test_by_class_and_in_all_the_errors_are_of_images_that_stay(sixty, sixty_once):
    truth, classes = competition.train_table(sixty_once).label, competition.classes(sixty_once)
    a, b, c = classes
    valid = sure({**truth} | dict.fromkeys(truth.index[truth == b][:5], a), classes)
    valid.loc[truth == c] = [0.3, 0.4, 0.3]  # 20 more are wrong, but none of them stays
    test = sure(dict(competition.solution(sixty_once)), classes)
    test.iloc[0] = [0.4, 0.3, 0.3]
    bundle_in(sixty, sixty_once, "alone", valid=valid, test=test)
    call(average)
    said = [" ".join(line.split()) for line in call(main, "--right", "0.7").stdout.splitlines()]
    assert "to a person: 1 of 9 test images (11.1 %); 8 stay, of probability 0.8000" in said[0]
    assert "5 of 40 wrong" in said[1]
    assert said[2].startswith("errors expected among the 8: 1.0, at most 2.4 with 95% confidence")
    first = said.index("predicted test images to a person hold-out error of what stays "
                       "(95 % interval)") + 1
    assert said[first : first + 3] == [f"{a} 3 1 5 of 25 wrong: 20.00 % (8.86 to 39.13)",
                                       f"{b} 3 0 0 of 15 wrong: 0.00 % (0.00 to 20.39)",
                                       f"{c} 3 0 none held out stays"]


def test_one_member_does_not_look_for_other_things_and_says_why(sixty, sixty_once):
    labels = dict(competition.train_table(sixty_once).label)
    bundle_in(sixty, sixty_once, "alone", valid=sure(labels, competition.classes(sixty_once)))
    call(average)
    done = call(main, "--right", "0.9", "--submission", "paddy_train")
    assert "not looked for; two members" in done.stdout and done.returncode == 0


def test_weights_that_were_typed_are_called_optimistic_and_searched_ones_are_nested(
    sixty, sixty_once
):
    strong_and_weak_in(sixty, sixty_once)
    call(average, "--weights", "strong=5")
    typed = call(main, "--right", "0.9").stdout
    assert "optimistic: " in typed and "0 of 60 wrong" in typed
    call(average, "--select", "auto", "--notebook", "auto")
    assert "add --submission NAME" in refused(call(main, "--right", "0.9"))
    searched = call(main, "--right", "0.9", "--submission", "auto")
    assert "optimistic: " not in searched.stdout, searched.stderr
    path = sixty.parent / "submissions" / "auto.json"
    path.write_text(path.read_text().replace(read_card(sixty, "strong")["sha256"], "0" * 64))
    line = refused(call(main, "--right", "0.9", "--submission", "auto"))
    assert "strong trained again since; write it again: python -m src.ensemble strong" in line


def test_members_and_weights_that_a_user_chose_are_called_optimistic(sixty, sixty_once):
    strong_and_weak_in(sixty, sixty_once)
    call(average)
    assert "optimistic: " not in call(main, "--right", "0.6").stdout
    for words in (["strong"], ["--weights", "weak_one=0", "weak_two=0"]):
        assert call(average, *words).returncode == 0
        done = call(main, "--right", "0.9")
        assert ("optimistic: the choice of members, without weak_one, weak_two, may be fitted to "
                "these very held-out images") in done.stdout, done.stderr
    call(average, "strong", "weak_one", "--mean", "geometric")
    assert ("optimistic: the typed weights or mean and the choice of members, without weak_two, "
            in call(main, "--right", "0.6").stdout)
    call(average, "strong")
    content = bundle_in(sixty, sixty_once, "later", created="2999-01-01T00:00:00+00:00")
    assert content["created"] > "2998"  # nobody could have chosen it
    said = call(main, "--right", "0.9").stdout
    assert "without weak_one, weak_two, may" in said and "later" not in said


def test_labels_that_the_submission_does_not_have_are_refused(sixty, sixty_once):
    labels = dict(competition.train_table(sixty_once).label)
    valid = sure(labels, competition.classes(sixty_once))
    bundle_in(sixty, sixty_once, "alone", valid=valid)
    call(average)
    other = sure(dict(competition.solution(sixty_once)), competition.classes(sixty_once)[::-1])
    other.columns = competition.classes(sixty_once)  # the same model, with other predictions
    bundle_in(sixty, sixty_once, "alone", valid=valid, test=other)
    line = refused(call(main, "--right", "0.9"))
    assert "6 of 9 labels differ" in line and "write it again: python -m src.ensemble alone" in line
    assert not (sixty.parent / "review" / "triage.csv").exists()


def test_known_labels_stay_and_are_counted(sixty, tmp_path, monkeypatch):
    folder = draw_competition(tmp_path / "data", each=20)
    monkeypatch.setenv("PADDY_DATA", str(folder))
    truth, classes = competition.train_table(folder).label, competition.classes(folder)
    tests, paths = competition.test_paths(folder), competition.train_paths(folder)
    image, twin = next(iter(tests)), truth.index[truth == classes[2]][0]
    shutil.copyfile(paths[twin], tests[image])
    for name, unlike in (("one", 0), ("two", 1)):
        test = sure(dict(competition.solution(folder)), classes)
        test.loc[image] = np.roll([0.98, 0.01, 0.01], unlike)
        bundle_in(sixty, folder, name, valid=sure(dict(truth), classes), test=test)
    assert call(average, "--force", "--twins", "identical").returncode == 0
    done = call(main, "--right", "0.94")
    assert "1 test images have the label of an identical training image" in done.stdout, done.stderr
    row = pd.read_csv(sixty.parent / "review" / "triage.csv", index_col="image_id").loc[image]
    assert (row.label, row.probability, row.to_person) == (classes[2], 1, False)


@pytest.mark.parametrize("share", ["0", "1", "99.5", "nan"])
def test_a_wish_that_is_no_share_is_refused_before_any_work(share, tmp_path):
    assert "write --right 0.995" in refused(call(main, "--right", share))


def test_too_few_held_out_images_promise_nothing(family):
    call(average)
    assert "this needs 50 images" in refused(call(main, "--right", "0.9"))
