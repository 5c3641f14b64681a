"""report.html: what it says comes from the numbers, what it lacks names a command."""

import re
import shutil
import subprocess
from html import escape

import numpy as np
import pandas as pd
import pytest
from small_bundles import bundle_in, call, refused, sure
from small_pages import Page, read, three

from src import competition
from src.core import review_dir, submissions_dir
from src.looking import occlusion, write_report
from src.looking.page import TEMPLATES
from src.report import main
from src.submission import sent

HOSTILE = "=<img onerror=x>,'\".jpg"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def maps(monkeypatch):
    """Maps without a model: the answer hangs on the upper left, of every second picture."""
    fall = np.zeros((8, 8))
    fall[0, 0] = 0.4
    made = []

    def of(ensemble, files):
        made.append([*files])
        return {image: fall * (number % 2 == 0) for number, image in enumerate(files)}

    monkeypatch.setattr(occlusion, "occlusion_maps", of)
    return made


def test_where_nothing_is_finished_the_page_says_how_to_begin(models):
    done = call(main)
    page = read(models.parent / "report.html")
    assert done.stdout == f"written: {models.parent / 'report.html'}\n"
    assert "make demo" in page.text and "python -m src.run --all" in page.text


def test_the_page_tells_numbers_and_the_commands_for_what_is_missing(models, data, maps):
    three(models, data)
    assert call(main).returncode == 0
    page = read(models.parent / "report.html")
    assert ("the ensemble of 3 models has 4 of 20 wrong: 20.00 % (95 % interval 8.07 to 41.60)"
            in page.text)
    assert "Gain of the ensemble: −4 of 20 images" in page.text and "against three" in page.text
    assert "2 of 7 wrong: 28.57 % (8.22 to 64.11), with the 95 % interval" in page.text
    for command in ("review twins", "review labels", "triage --right 0.995", "ensemble",
                    "kaggle_api submit paddy_train", "run one"):
        assert f"python -m src.{command}" in page.text
    assert "papermill notebooks/paddy_explore.ipynb" in page.text
    assert len(maps) == 1 and len(maps[0]) == 12
    assert "the brightest place, upper left, is worth 0.40 of the probability of" in page.text
    assert page.text.count("no single place") == 6
    figures = [image for image in page.images if image.get("class") == "figure"]
    assert len(figures) == 4 and len(page.images) == 4 + 20 + 6  # 20 held out, 6 have a map
    assert all(image["alt"] for image in page.images)
    assert any("4 wrong" in image["alt"] for image in figures)


def test_one_model_has_a_page_of_its_own(models, data, maps):
    three(models, data)
    assert write_report(name="three").name == "report_three.html"
    page = read(models.parent / "report_three.html")
    assert "three has 0 of 20 wrong" in page.text and "No held-out image is wrong" in page.text
    assert "nothing is averaged" in page.text
    assert "four" in refused(call(main, "four"))
    assert not (models.parent / "report.html").exists()


def test_the_submission_the_ledger_and_the_lists_of_a_review_are_shown(models, data, maps):
    from src.ensemble.__main__ import main as ensemble

    three(models, data)
    assert call(ensemble).returncode == 0
    row = dict.fromkeys(sent.COLUMNS, "") | {
        "ref": "7", "time": "2026-01-02T03:04:05", "file": "<b>.csv", "holdout_wrong": "4",
        "holdout_images": "20", "public": "0.98846", "public_right": "2571"}
    pd.DataFrame([row]).to_csv(submissions_dir() / "ledger.csv", index=False)
    folds = competition.get_folds(data, 42, models)
    ids = competition.train_table(data).index[:20]
    apart = next((a, b) for a in ids for b in ids if folds[a] != folds[b])
    rows = [(*apart, "leaf", 1, 20), (ids[0], competition.sample(data).image_id[0], "identical", 2,
                                      99)]
    competition.write_twins(data, pd.DataFrame(rows, columns=competition.TWIN_COLUMNS))
    (review_dir() / "labels.html").touch()
    page = read(write_report())
    assert "paddy_train.csv has 9 rows; the guard finds no errors in it, and it was not sent" in (
        page.text)
    assert "latest public score: 2,571 of 2,601 right, 30 wrong ± 5.4" in page.text
    assert "<b>.csv" in page.text and "review/labels.html" in page.links
    assert "review twins" in page.text and "training and test" in page.text
    assert "with a twin in training 2 of 2 wrong: 100.00 %" in page.text
    assert "twin in another fold same leaf 2 of 2 wrong" in page.text
    (submissions_dir() / "paddy_train.json").unlink()  # how it was made is not known any more
    assert "has 9 rows; " in (text := read(write_report()).text) and "written 20" not in text


def test_hostile_names_and_damaged_pictures_are_shown_as_text(models, data, maps):
    table = pd.read_csv(data / "train.csv")
    first = data / "train_images" / table.label[0] / table.image_id[0]
    first.rename(first.with_name(HOSTILE))
    first.with_name(HOSTILE).write_bytes(b"x" * 9)
    table.replace(first.name, HOSTILE).to_csv(data / "train.csv", index=False)
    truth, classes = competition.train_table(data).label, competition.classes(data)
    bundle_in(models, data, "one", valid=sure(dict(truth[[HOSTILE, *truth.index[:3]]]), classes))
    text = write_report().read_text(encoding="utf-8")
    page = Page(text)
    assert HOSTILE in page.text and "<img onerror" not in text
    assert "this picture cannot be read" in page.text and len(page.images) == 4 + 3 + 2


def test_a_model_that_cannot_be_opened_costs_the_maps_alone(models, data):
    three(models, data)
    page = read(write_report())
    assert "no map: " in page.text and "cannot be loaded" in page.text
    assert len([image for image in page.images if image.get("class") != "figure"]) == 20


def test_a_model_of_all_images_has_a_page_without_mistakes(models, data, maps):
    classes = competition.classes(data)
    bundle_in(models, data, "one", valid=sure({}, classes))
    page = read(write_report())
    assert "No hold-out, so no error is known" in page.text
    assert "Which classes are confused is not known" in page.text and maps == []


# How pages look


def luminance(colour):
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_is_readable_in_both_schemes(scheme):
    style = (TEMPLATES / "base.html").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.S)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[scheme]))
    pairs = [(text, ground) for text in ("ink", "soft", "accent", "mark")
             for ground in ("paper", "card")]
    for text, ground in pairs:
        light, dark = sorted((luminance(colours[name]) for name in (text, ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine")
def test_no_sideways_scrolling_at_360_pixels(models, data, maps, tmp_path):
    three(models, data)
    measure = "parent.document.title = 'wide ' + document.documentElement.scrollWidth"
    page = write_report().read_text(encoding="utf-8") + f"<script>{measure}</script>"
    frame = tmp_path / "frame.html"  # no window of Chromium's is as narrow
    frame.write_text(f'<iframe width="360" height="900" srcdoc="{escape(page)}"></iframe>',
                     encoding="utf-8")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--dump-dom",
             f"--user-data-dir={tmp_path / 'user'}", "--virtual-time-budget=5000"]
    done = subprocess.run([CHROMIUM, *words, f"file://{frame}"], capture_output=True, text=True)
    assert int(re.search(r"<title>wide (\d+)</title>", done.stdout)[1]) <= 360, done.stderr
