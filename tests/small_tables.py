"""Small tables by hand: how many images of each label, and the probabilities of some."""

import numpy as np
import pandas as pd

COUNTS = {"blast": 23, "hispa": 11, "normal": 37, "tungro": 5}


def name(label: str, n: int) -> str:
    """The file name of image `n` of a label."""
    return f"{list(COUNTS).index(label) + 1}{n:05}.jpg"


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
