"""Twins: changed copies and the same leaf are found under their names, other leaves are not."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from conftest import refusal
from PIL import Image
from small_leaves import CHANGES, competition_in, leaf

from src import competition
from src.looking import twins


def as_bytes(image: Image.Image, quality: int = 92) -> bytes:
    image.save(file := io.BytesIO(), "JPEG", quality=quality)
    return file.getvalue()


def written(tmp_path, **images: Image.Image | bytes) -> pd.Series:
    """The images in files: name → path."""
    for name, image in images.items():
        (tmp_path / name).write_bytes(image if isinstance(image, bytes) else as_bytes(image))
    return pd.Series({name: tmp_path / name for name in images}, dtype=object)


def rows(pairs: pd.DataFrame) -> list[tuple]:
    return list(pairs[["a", "b", "kind", "group"]].itertuples(index=False, name=None))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Ten leaves; b is a again under another label, t1 is c, t2 is d mirrored."""
    monkeypatch.setenv("PADDY_WORK", str(tmp_path / "work"))
    leaves = {name: leaf(seed) for seed, name in enumerate("acdefghijk")}
    train = {f"{name}.jpg": (("blast", "tungro")[seed % 2], image)
             for seed, (name, image) in enumerate(leaves.items())}
    train["b.jpg"] = ("tungro", CHANGES["again"](leaves["a"]))
    data = competition_in(tmp_path / "data", train, {
        "t1.jpg": as_bytes(leaves["c"]), "t2.jpg": CHANGES["mirrored"](leaves["d"]),
        "t3.jpg": leaf(99),
    })  # fmt: skip
    monkeypatch.setenv("PADDY_DATA", str(data))
    return data


# Which pairs are found


def test_every_change_is_found_and_no_other_leaf(tmp_path):
    kinds = {"encoded": "picture", "resized": "picture", "mirrored": "picture",
             "turned": "picture", "again": "leaf"}  # fmt: skip
    images = {f"leaf{number}": leaf(number) for number in range(12)}
    images |= {name: as_bytes(change(images[f"leaf{number}"]), 60)
               for number, (name, change) in enumerate(CHANGES.items())}
    pairs = twins.find_pairs(written(tmp_path, **images))
    found = {(a, b): kind for a, b, kind, _ in rows(pairs)}
    assert found == {(f"leaf{n}", name): kind for n, (name, kind) in enumerate(kinds.items())}
    assert pairs.group.tolist() == [1, 2, 3, 4, 5]
    again = pairs.set_index("b").loc["again"]
    assert again.inliers >= twins.INLIERS


def test_a_leaf_is_found_in_a_picture_of_it_that_looks_otherwise(tmp_path):
    part = leaf(0).rotate(180).crop((60, 60, 220, 220))
    images = {f"leaf{number}": leaf(number) for number in range(30)} | {"part": part}
    assert rows(twins.find_pairs(written(tmp_path, **images))) == [("leaf0", "part", "leaf", 1)]


def test_groups_are_the_unions_of_pairs_and_copies_of_copies_are_in_them(tmp_path):
    one, other = leaf(0), leaf(1)
    images = {"a": one, "x": other, "b": one, "c": CHANGES["mirrored"](one), "d": one,
              "y": CHANGES["again"](other)}  # fmt: skip
    pairs = twins.find_pairs(written(tmp_path, **images))
    assert rows(pairs) == [("a", "b", "identical", 1), ("a", "c", "picture", 1),
                           ("a", "d", "identical", 1), ("x", "y", "leaf", 2)]  # fmt: skip


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pictures_without_a_corner_and_single_ones_have_no_twins(tmp_path, count):
    flat = {str(n): Image.new("L", (40 + n, 30), 80 * n) for n in range(count)}
    pairs = twins.find_pairs(written(tmp_path, **flat))
    assert pairs.empty and [*pairs.columns] == competition.TWIN_COLUMNS


def test_a_picture_that_cannot_be_read_is_named_and_nothing_written(folder):
    path = folder / "test_images" / "t3.jpg"
    path.write_bytes(path.read_bytes()[:700])
    assert "test_images/t3.jpg" in refusal(twins.twins_command, [])
    assert not competition.twins_path().exists()


def seen(places: np.ndarray, corners: np.ndarray) -> twins.Look:
    """What is compared of a picture with these corners, whose thumbnail is like no other."""
    return twins.Look(np.zeros((8, 256), np.float32), places.astype(np.float32), corners)


def test_corners_that_fall_on_one_point_of_another_picture_make_no_twins():
    random = np.random.default_rng(0)
    corners = random.integers(0, 256, (60, 32), np.uint8)  # each has its partner in the other
    wide, point = random.uniform(0, 600, (60, 2)), random.uniform(300, 302, (60, 2))
    leaf, moved, speck = (seen(places, corners) for places in (wide, wide + 9, point))
    assert twins.judge(leaf, moved) == ("leaf", 60)
    assert twins.judge(leaf, speck)[0] == twins.judge(speck, leaf)[0] == ""


def test_what_many_pictures_share_hides_no_twins():
    """Two cameras stamp 60 pictures each; a leaf is in one picture of either."""
    random = np.random.default_rng(0)
    leaf, *stamps = (random.integers(0, 256, (count, 32), np.uint8) for count in (10, 390, 390))
    looks = [seen(np.empty(0), stamp) for stamp in stamps for _ in range(60)]
    for number in (0, 60):
        looks[number] = looks[number]._replace(corners=np.vstack([looks[number].corners, leaf]))
    assert twins.candidates(looks) == {(0, 60)}


# The command: table, page, sentences


def test_a_line_that_a_person_removed_joins_nothing_any_more(folder):
    pairs = pd.DataFrame([("a.jpg", "b.jpg"), ("b.jpg", "c.jpg"), ("c.jpg", "d.jpg")],
                         columns=["a", "b"]).assign(kind="leaf", inliers=20)
    pairs["group"] = competition.groups_of(pairs)
    competition.write_twins(folder, pairs)
    lines = competition.twins_path().read_text().splitlines()
    competition.twins_path().write_text("\n".join([*lines[:2], lines[3]]))
    assert pairs.group.tolist() == [1, 1, 1]
    assert competition.read_twins(folder).group.tolist() == [1, 2]
    competition.twins_path().write_text(lines[0] + "\n")
    assert competition.read_twins(folder).empty


def test_a_picture_too_small_for_corners_is_looked_at(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    assert twins.look(tmp_path / "a.png").corners is None


def test_the_command_writes_table_and_page_and_says_what_was_found(folder, capsys):
    twins.twins_command([])
    said = capsys.readouterr().out
    table = competition.read_twins(folder)
    assert rows(table) == [("a.jpg", "b.jpg", "leaf", 1), ("c.jpg", "t1.jpg", "identical", 2),
                           ("d.jpg", "t2.jpg", "picture", 3)]  # fmt: skip
    assert "3 pairs in 3 groups" in said and "t1.jpg (tungro)" in said
    page = competition.twins_path().with_suffix(".html").read_text(encoding="utf-8")
    heads = re.findall("<h2>(.*)</h2>", page)
    assert heads == ["Different labels: 1", "A training and a test photograph: 2"]
    assert page.count('<img src="data:image/webp') == 6 and "<script" not in page
    assert "blast" in page and "fold" not in re.sub("(?s)<p.*?</p>", "", page)
    competition.get_folds(folder, 42, folder.parent / "work" / "models")
    twins.twins_command([])
    page = competition.twins_path().with_suffix(".html").read_text(encoding="utf-8")
    assert re.search(r"blast, fold \d", page)


def test_pairs_of_different_labels_come_first_then_folds_then_test(folder):
    ids = [f"{name}.jpg" for name in "acdefghijk"]
    pairs = pd.DataFrame({"a": ["e.jpg", "c.jpg", "a.jpg", "a.jpg", "t1.jpg"],
                          "b": ["g.jpg", "t1.jpg", "d.jpg", "c.jpg", "t2.jpg"],
                          "kind": "leaf", "group": 1, "inliers": 20})  # fmt: skip
    folds = pd.Series(0, ids)
    folds["d.jpg"] = 1
    table = twins.described(pairs, folder, folds)
    assert table.b.tolist() == ["c.jpg", "d.jpg", "t1.jpg", "g.jpg", "t2.jpg"]
    assert table.about.tolist()[1] == "In different folds" and table.where_b.iloc[2] == "test"


COLUMNS = [*competition.TWIN_COLUMNS, "where_a", "where_b", "about"]


def test_hostile_names_and_labels_are_text_on_the_page(folder, tmp_path):
    name, label = '=1,"<b>&\'.jpg', "<script>alert(1)<"
    shown = pd.DataFrame([[name, "b", "leaf", 1, 20, label, "test", "Others"]], columns=COLUMNS)
    twins.write_review(shown, folder, written(tmp_path, a=leaf(0), b=leaf(1)).set_axis([name, "b"]))
    page = competition.twins_path().with_suffix(".html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page and "=1,&#34;&lt;b&gt;&amp;" in page


def test_a_page_of_many_pairs_says_how_many_it_shows(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(twins, "SHOWN", 2)
    rows = [["a", "b", "leaf", 1, 20, "x", "test", "Others"]] * 3
    shown = pd.DataFrame(rows, columns=COLUMNS)
    (line, *_) = twins.write_review(shown, folder, written(tmp_path, a=leaf(0), b=leaf(1)))
    page = competition.twins_path().with_suffix(".html").read_text(encoding="utf-8")
    assert "2 of 3 pairs are shown" in page and page.count("<figure>") == 4
    assert line.startswith("3 pairs in 1 groups") and "<h2>Others: 3</h2>" in page


def test_images_that_share_a_name_across_train_and_test_are_refused(folder):
    (folder / "test_images" / "t1.jpg").rename(folder / "test_images" / "a.jpg")
    sample = (folder / "sample_submission.csv").read_text().replace("t1.jpg", "a.jpg")
    (folder / "sample_submission.csv").write_text(sample)
    assert "share names (a.jpg)" in refusal(twins.twins_command, [])
