"""Predictions of exported models as whoever has fastai and timm alone makes them, in a process.

    python tests/plain_fastai.py REQUESTS     a JSON file: model → [photographs]; prints JSON
"""

import json
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

ABSENT = ("src", "cv2")


class Absent(MetaPathFinder):
    """The packages of ABSENT are not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ImportError(f"{name} is not installed here")


def predictions(pkl: str, photos: list[str]) -> dict:
    """What the Learner in `pkl` predicts, in each way that fastai has."""
    from fastai.learner import load_learner

    learn = load_learner(pkl)
    dl = learn.dls.test_dl(photos, num_workers=0)
    with learn.no_bar():
        probs, _ = learn.get_preds(dl=dl)
        tta, _ = learn.tta(dl=dl)
        label, number, one = learn.predict(photos[0])
        by_path, _, _ = learn.predict(Path(photos[0]))
    return {
        "vocab": list(learn.dls.vocab), "probs": probs.tolist(), "tta": tta.tolist(),
        "one": one.tolist(), "labels": [label, by_path, learn.dls.vocab[int(number)]],
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, Absent())
    requests = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps({pkl: predictions(pkl, photos) for pkl, photos in requests.items()}))
