"""What the guard says of a file by itself: its form, its rows, its mix of labels."""

import pandas as pd
import pytest

from src.submission.form import label_findings
from src.submission.guard import check
from tests.small_submissions import HELD, IDS, TRUTH, texts

ROWS = TRUTH.rename_axis("image_id").reset_index(name="label")
SOUND = ROWS.to_csv(index=False)
FILES = {  # content, and how each finding begins
    "sound": (SOUND, []),
    "an image is missing": (SOUND.replace(f"{IDS[3]},{TRUTH.iloc[3]}\n", ""),
                            ["error: 1 images missing: 200003.jpg; predict the test set that"]),
    "an image is foreign": (SOUND.replace(IDS[0], "999999.jpg"),
                            ["error: 1 images missing: 200000.jpg",
                             "error: 1 images not in the sample: 999999.jpg"]),
    "images are doubled": (pd.concat([ROWS, ROWS[5:7]]).to_csv(index=False),
                           ["error: 2 images there twice: 200005.jpg, 200006.jpg"]),
    "another order": (ROWS.loc[[*range(10), 11, 10, *range(12, 400)]].to_csv(index=False),
                      ["error: rows are not in the sample's order from row 11 on (200011.jpg"]),
    "unknown labels": (SOUND.replace("blast", "blasst", 1).replace("hispa", "", 1),
                       ["error: 2 rows with unknown labels '"]),
    "a stray column": (ROWS.to_csv(), ["error: stray column ''; write only image_id,label"]),
    "columns exchanged": (ROWS[["label", "image_id"]].to_csv(index=False),
                          ["remark: columns are not in the usual order image_id,label"]),
    "an empty line first": ("\n" + SOUND, []),
    "byte order mark": ("\ufeff" + SOUND, ["error: begins with a byte order mark"]),
    "CRLF": (SOUND.replace("\n", "\r\n"), ["remark: has CRLF line ends"]),
    "empty": ("", ["error: PATH is empty"]),
    "one class only": (ROWS.assign(label="blast").to_csv(index=False),
                       ["error: every row says blast"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_is_wrong_with_a_file_is_named_in_one_line(folder, tmp_path, kind):
    content, starts = FILES[kind]
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode())
    found = [line.replace(str(path), "PATH") for line in texts(check(path, folder))]
    assert [line[: len(start)] for line, start in zip(found, starts, strict=True)] == starts
    assert not any("\n" in line for line in found)


# The labels as a whole


def mix(blast, hispa, normal):
    return pd.Series(["blast"] * blast + ["hispa"] * hispa + ["normal"] * normal, dtype=object)


MIXES = {  # labels, further rows of training, and parts of the first line
    # 100 of 400: e^-100
    "a class missing": (TRUTH.replace("normal", "hispa"), 0,
                        ["error: no row says normal", "training about 100", "(p = 4e-44)"]),
    # 1 of 401: e^-(400/401)
    "a rare class missing": (TRUTH, 1, ["remark: no row says tungro", "about 1 ", "(p = 0.4)"]),
    # 12 of 412: e^-(12 · 400/412)
    "missing by more than chance": (TRUTH, 12, ["remark: no row", "about 12 ", "(p = 9e-06)"]),
    "exchanged": (TRUTH.replace({"blast": "normal", "normal": "blast"}), 0,
                  ["error: class mix differs from training", "names were exchanged"]),
    # 2 × 3 table: 50²/450 + 40²/160 + 10²/190 = 16.08; e^(-16.08 / 2) = 0.00032
    "a small bias": (mix(250, 60, 90), 0, ["remark: class mix differs from training",
                                           "p = 0.0003, 12% of the rows", "blast +50, hispa −40"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", MIXES)
def test_an_odd_mix_of_labels_is_refused_only_where_chance_cannot_make_it(kind):
    labels, more, parts = MIXES[kind]
    line = texts(label_findings(labels, pd.Series([*HELD, *["tungro"] * more])))[0]
    assert [part for part in parts if part not in line] == []


def test_a_mix_like_that_of_training_or_of_the_hold_out_is_silent():
    biased, labels = pd.Series({"blast": 150, "hispa": 48, "normal": 2}), mix(300, 95, 5)
    assert label_findings(mix(215, 90, 95), HELD) == label_findings(labels, HELD, biased) == []
    (line,) = texts(label_findings(labels, HELD))
    assert line.startswith("error: class mix differs from training")
    exchanged = labels.replace({"blast": "normal", "normal": "blast"})
    assert label_findings(exchanged, HELD, biased)[0].kind == "error"


def test_classes_that_the_hold_out_never_shows_may_be_missing():
    biased, train = pd.Series({"blast": 150, "hispa": 50}), pd.Series([*HELD, *["tungro"] * 99])
    found = texts(label_findings(mix(300, 100, 0), train, biased))
    assert found == ["remark: no row says normal, tungro, nor do the members on the hold-out"]
