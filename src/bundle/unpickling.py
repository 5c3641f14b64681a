"""Older exported models: their pickles name classes of ours, and paths of one system.

New ones name neither. What has moved is found by this table; `pickle_module` of `load_learner`.
"""

import pickle
from typing import IO, Any

PATHS = ("PosixPath", "WindowsPath")
NAMES = {  # name in the pickle → name today
    "src.augment.FastViews": "src.vision.augment.FastViews",
    "src.augment.NormalizeBytes": "src.vision.augment.NormalizeBytes",
    "src.augment.NormalizeInPlace": "fastai.data.transforms.Normalize",
    "src.augment.open_image": "src.vision.photograph.open_image",
    "src.data.corrected_label": "src.vision.loaders.label_of",
    **{f"src.{room}.Members": "src.training.callbacks.snapshots.SnapshotEnsemble"
       for room in ("snapshots", "training.callbacks.snapshots")},
    "src.views.Frame": "src.vision.views.Frame",
    **{f"pathlib.{name}": "pathlib.Path" for name in PATHS},
    **{f"pathlib._local.{name}": "pathlib.Path" for name in ("Path", *PATHS)},  # Python 3.13
}


class Unpickler(pickle.Unpickler):
    """`pickle.Unpickler`, by today's names; torch subclasses it again."""

    def find_class(self, module: str, name: str) -> Any:
        """The class or function that a pickle calls `name` of `module`; else UnpicklingError."""
        if today := NAMES.get(f"{module}.{name}"):
            module, _, name = today.rpartition(".")
        try:
            return super().find_class(module, name)
        except ImportError as error:  # which load_learner would swallow
            raise pickle.UnpicklingError(str(error)) from error


def load(file: IO[bytes], **options: Any) -> Any:
    """`pickle.load`, by today's names."""
    return Unpickler(file, **options).load()
