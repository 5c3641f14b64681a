"""Submissions of 400 images and what belongs to them, made by hand for the tests."""

import numpy as np
import pandas as pd

from src.evidence import average
from src.submission import Predicted, labels_of

CLASSES = ["blast", "hispa", "normal"]
IDS = [f"2{number:05d}.jpg" for number in range(400)]
HELD = pd.Series(["blast"] * 200 + ["hispa"] * 100 + ["normal"] * 100,
                 [f"1{number:05d}.jpg" for number in range(400)])  # the training labels
# Half of the images blast, a quarter each of the others, without any order.
TRUTH = pd.Series(np.random.default_rng(7).choice(["blast", "blast", "hispa", "normal"], 400), IDS)


def competition_in(folder):
    """A competition of 400 training and 400 test images, by its tables alone."""
    for name in ("train_images", "test_images"):
        (folder / name).mkdir(parents=True)
    rows = [f"{name},{label},ADT45,50" for name, label in HELD.items()]
    (folder / "train.csv").write_text("\n".join(["image_id,label,variety,age", *rows, ""]))
    rows = [f"{name}," for name in IDS]
    (folder / "sample_submission.csv").write_text("\n".join(["image_id,label", *rows, ""]))
    return folder


def csv_of(path, labels):
    """A submission at `path` with `labels` by image id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels.rename_axis("image_id").to_csv(path, header=["label"], lineterminator="\n")
    return path


def probs_of(labels):
    """Probabilities of 0.8 for `labels`, 0.1 for each other class."""
    values = np.full((len(labels), 3), 0.1)
    values[np.arange(len(labels)), [CLASSES.index(label) for label in labels]] = 0.8
    return pd.DataFrame(values, index=pd.Index(labels.index, name="image_id"), columns=CLASSES)


def with_changes(labels, count):
    """`labels` with the first `count` rows changed to another class."""
    other = labels.map({"blast": "hispa", "hispa": "normal", "normal": "blast"})
    return pd.concat([other[:count], labels[count:]])


def mistaken(labels, wrong, seed):
    """`labels` of which about the share `wrong` became another class, at random."""
    random = np.random.default_rng(seed)
    others = [random.choice([name for name in CLASSES if name != label]) for label in labels]
    return labels.where(random.random(len(labels)) >= wrong, pd.Series(others, labels.index))


def ensemble_of(wrong=0.45, count=3, seed=0):
    """Labels of the test images, the members whose average they are, and their provenance.

    Each member has about the share `wrong` of the images wrong, each for itself.
    """
    tables = []
    for number in range(count):
        valid, test = (probs_of(mistaken(truth, wrong, seed + 10 * number + split))
                       for split, truth in enumerate((HELD[::2], TRUTH)))
        tables.append(Predicted(f"vit_{number}", valid, test))
    labels = labels_of(average([table.test for table in tables]))
    picks = labels_of(average([table.holdout for table in tables]))
    agree = {t.name: int((labels_of(t.holdout) == picks).sum()) for t in tables}
    known = {"images": 200, "labels": picks.value_counts().to_dict(), "agree": agree}
    return labels, tables, {"expected": known}


def texts(findings, *kinds):
    """The lines of these `kinds`; without any, errors and remarks with their kind."""
    if kinds:
        return [finding.text for finding in findings if finding.kind in kinds]
    return [f"{f.kind}: {f.text}" for f in findings if f.kind in ("error", "remark")]
