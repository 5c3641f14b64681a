"""Submissions of 400 images and what belongs to them, made by hand for the tests."""

import numpy as np
import pandas as pd

CLASSES = ["blast", "hispa", "normal"]
IDS = [f"2{number:05d}.jpg" for number in range(400)]
# Half of the images blast, a quarter each of the others, without any order.
TRUTH = pd.Series(np.random.default_rng(7).choice(["blast", "blast", "hispa", "normal"], 400), IDS)


def competition_in(folder):
    """A competition of 400 training and 400 test images, by its tables alone."""
    for name in ("train_images", "test_images"):
        (folder / name).mkdir(parents=True)
    labels = ["blast"] * 200 + ["hispa"] * 100 + ["normal"] * 100
    rows = [f"1{number:05d}.jpg,{label},ADT45,50" for number, label in enumerate(labels)]
    (folder / "train.csv").write_text("\n".join(["image_id,label,variety,age", *rows, ""]))
    rows = [f"{name}," for name in IDS]
    (folder / "sample_submission.csv").write_text("\n".join(["image_id,label", *rows, ""]))
    return folder


def csv_of(path, labels, head="image_id,label", end="\n"):
    """A submission at `path` with `labels` by image id."""
    path.parent.mkdir(exist_ok=True)
    lines = [head, *(f"{name},{label}" for name, label in labels.items()), ""]
    path.write_bytes(end.join(lines).encode())
    return path


def probs_of(labels, certainty=0.8):
    """Probabilities whose argmax are `labels`."""
    values = np.full((len(labels), 3), (1 - certainty) / 2)
    values[np.arange(len(labels)), [CLASSES.index(label) for label in labels]] = certainty
    return pd.DataFrame(values, index=pd.Index(labels.index, name="image_id"), columns=CLASSES)


def with_changes(labels, count):
    """`labels` with the first `count` rows changed to another class."""
    changed = labels.copy()
    changed.iloc[:count] = labels.iloc[:count].map(
        {"blast": "hispa", "hispa": "normal", "normal": "blast"}
    )
    return changed


def lines(findings):
    """Findings as the lines a user reads."""
    return [f"{finding.severity}: {finding.text}" for finding in findings]
