"""Which ensemble report.html is of, which images judge it, and what it counts for a person."""

import numpy as np
import pandas as pd
import pytest
from small_bundles import bundle_in, call, sure
from small_pages import read, three

from src import competition, core
from src.ensemble.__main__ import main as average
from src.looking import occlusion, write_report
from src.looking.page import splits_path

AGAIN = "python -m src.ensemble one three two --weights one=1 three=5 two=1"


@pytest.fixture(autouse=True)
def no_maps(monkeypatch):
    monkeypatch.setattr(occlusion, "occlusion_maps", lambda ensemble, files: {})


def text_of_report() -> str:
    return read(write_report()).text


def test_without_a_submission_the_page_is_of_the_equal_mean_and_says_so(models, data):
    three(models, data)
    page = text_of_report()
    assert "describes the equal mean of all finished models, as there is no submission yet" in page
    assert "Average: select equal, arithmetic mean, twins none; weights all equal." in page


def test_the_page_is_of_the_submission_with_its_weights_and_how_to_write_it_again(models, data):
    three(models, data)
    assert call(average, "--weights", "three=5", "--twins", "identical").returncode == 0
    page = text_of_report()
    assert "describes the ensemble of the submission paddy_train, as it was written" in page
    assert "the ensemble of 3 models has 0 of 20 wrong" in page  # the equal mean has 4
    assert "twins identical; weights one=1 three=5 two=1" in page
    assert f"{AGAIN} --twins identical --notebook paddy_train" in page
    assert "0 test images take the label of an identical training image" in page


def test_models_that_were_not_taken_are_not_on_the_page(models, data):
    three(models, data)
    assert call(average, "one", "three").returncode == 0
    page = text_of_report()
    assert "the ensemble of 2 models has 4 of 20 wrong" in page
    assert "python -m src.ensemble one three --notebook paddy_train" in page
    assert "src.run two" not in page


def test_after_a_model_was_trained_again_the_page_is_of_the_equal_mean_and_says_why(models, data):
    three(models, data)
    call(average, "--weights", "three=5")
    path = core.submissions_dir() / "paddy_train.json"
    sha256 = core.sha256(models / "three.pkl")
    path.write_text(path.read_text().replace(sha256, "0" * 64))
    page = text_of_report()
    assert ("describes the equal mean of all finished models: submission paddy_train is not what "
            f"its models predict now: three trained again since; write it again: {AGAIN}") in page
    assert "the ensemble of 3 models has 4 of 20 wrong" in page


def test_where_no_image_was_held_out_by_all_each_is_judged_by_those_that_did(models, data):
    truth, classes = competition.train_table(data).label, competition.classes(data)
    other = truth.map(dict(zip(classes, [*classes[1:], classes[0]], strict=True)))
    taken = truth.where(np.arange(30) >= 3, other)  # the first three are wrong
    for name, held in (("one", slice(0, 10)), ("two", slice(5, 20)), ("three", slice(15, 30))):
        bundle_in(models, data, name, valid=sure(dict(taken.iloc[held]), classes))
    page = text_of_report()
    assert "not trained on, the mean of those that held each out has 3 of 30 wrong" in page
    assert ("No image was held out by all 3 models: 30 of 30 are judged here, each by the mean of "
            "those that did (20 by 1, 10 by 2)") in page
    assert "Most often" in page and page.count("predicted disease") > 2


def test_what_tta_is_worth_is_said_of_the_average_of_the_models(models, data):
    classes, answers = competition.classes(data), competition.solution(data)
    held = competition.train_table(data).label.iloc[:20]
    other = held.map(dict(zip(classes, [*classes[1:], classes[0]], strict=True)))
    views, test = sure(dict(held), classes, 0.9), sure(dict(answers), classes)
    first, second = views.copy(), sure(dict(held), classes, 0.55)
    first[:9] = sure(dict(other[:9]), classes, 0.6)  # with TTA it is always right,
    second[:3] = sure(dict(other[:3]), classes, 0.95)  # against this one three times in vain
    bundle_in(models, data, "one", valid=first, test=test, views=(views, test),
              variant=core.make_variant(arch="test_vit").recipe)
    bundle_in(models, data, "two", valid=second)
    said = "+6 of 20 images (95 % +1 … +6, p 0.031): evidence that TTA helps these models"
    assert said in text_of_report()


# What is counted for a person


def test_doubted_labels_are_counted_with_their_page(models, data):
    three(models, data, wrong=0)
    page = write_report()
    assert "another label to 0 of 20 photographs that they held out; a page" in read(page).text
    core.write_text(core.review_dir() / "labels.html", "")
    assert "review/labels.html" in read(write_report()).links


def test_what_triage_sorted_out_is_counted_as_long_as_it_is_of_these_predictions(models, data):
    three(models, data)
    table = pd.DataFrame({"image_id": competition.sample(data).image_id,
                          "label": competition.solution(data).to_numpy(), "probability": 0.5,
                          "to_person": [True, True, *[False] * 7], "reason": ""})
    path = core.review_dir() / "triage.csv"
    core.write_text(path, table.to_csv(index=False))
    page = read(write_report())
    assert "To a person: 2 of 9 test images" in page.text and "review/triage.csv" in page.links
    table["label"] = "disease_a"
    core.write_text(path, table.to_csv(index=False))
    page = read(write_report())
    assert "To a person: " not in page.text and "src.triage --right 0.995" in page.text


def test_the_shift_that_the_notebook_found_is_shown_for_these_images_only(models, data):
    three(models, data)
    head = "features,training images,test images,AUC,20 shuffles,finding\n"
    row = "light and colour,30,9,0.83,0.40 … 0.62,they differ\n"
    core.write_text(splits_path(data), head + row)
    assert "light and colour 30 9 0.83 0.40 … 0.62 they differ" in text_of_report()
    (data / "test_images" / competition.sample(data).image_id[0]).write_bytes(b"another")
    three(models, data)
    page = text_of_report()
    assert "0.40 … 0.62" not in page and "papermill notebooks/paddy_explore.ipynb" in page
