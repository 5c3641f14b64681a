"""Small tables by hand: of a competition without pictures, and the probabilities of some images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

COUNTS = {"blast": 23, "hispa": 11, "normal": 37, "tungro": 5}
SIX = [f"10000{n}.jpg,{('blast', 'normal')[n // 3]},ADT45,{45 + n}" for n in range(6)]


def name(label: str, n: int) -> str:
    """The file name of image `n` of a label."""
    return f"{list(COUNTS).index(label) + 1}{n:05}.jpg"


def text_competition(folder: Path, rows: Sequence[str], tests: Sequence[str] = ()) -> Path:
    """A competition of the `rows` of train.csv and the images `tests`; text stands for pictures."""
    images = {f"train_images/{row.split(',')[1]}/{row.split(',')[0]}": row for row in rows}
    images |= {f"test_images/{name}": name for name in tests}
    for image, text in images.items():
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_text(text)
    tables = {"train.csv": ["image_id,label,variety,age", *rows],
              "sample_submission.csv": ["image_id,label", *(f"{name}," for name in tests)]}
    for table, lines in tables.items():
        (folder / table).write_text("\n".join([*lines, ""]))
    return folder


def probs_of(rows, classes=("blast", "normal"), model=None):
    """A table of two classes from {image: probability of the first class}."""
    values = np.array([[p, 1 - p] for p in rows.values()], dtype=np.float32)
    table = pd.DataFrame(values, index=pd.Index(list(rows), name="image_id"), columns=classes)
    table.attrs = {"model": model} if model else {}
    return table


PLAIN = probs_of({"1.jpg": 0.75, "2.jpg": 0.5})
VIEWS = probs_of({"1.jpg": 0.25, "2.jpg": 0.125})


def table(rows, columns="ab"):
    """A small table from rows of probabilities; images are named by their number."""
    return pd.DataFrame(rows, columns=list(columns), index=[f"{k}.jpg" for k in range(len(rows))])
