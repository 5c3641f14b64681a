"""What is attached to a kernel is found in whichever form Kaggle has mounted it."""

from pathlib import Path

import pytest

from src.competition import mounts
from src.core import make_variant
from src.vision.weights import find

MODEL = "timm/vit/pytorch/small/1"
FORMS = [
    ("datasets/someone/weights/vit.bin", "weights/vit.bin"),
    (f"models/{MODEL}/vit.bin", f"{MODEL.partition('/')[2]}/vit.bin"),
    ("notebooks/someone/paddy/models/vit.bin", "paddy/models/vit.bin"),
    ("competitions/paddy/vit.bin", "paddy/vit.bin"),
]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mounts, "KAGGLE_INPUT", tmp_path / "input")
    return tmp_path / "input"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(("new", "old"), FORMS)
def test_a_path_of_either_form_finds_the_file_in_either_form(root, new, old):
    for mounted in (new, old):
        path = put(root / mounted)
        for written in (new, old):
            assert find(make_variant(pretrained=str(root / written))).file == path
        path.unlink()


def test_a_path_that_exists_or_lies_elsewhere_stays_and_no_owner_is_guessed(root):
    both = [put(root / "datasets/someone/weights/vit.bin"), put(root / "weights/vit.bin")]
    assert [mounts.resolve(path) for path in both] == both
    elsewhere = root.parent / "weights/vit.bin"
    assert mounts.resolve(elsewhere) == elsewhere
    both[1].unlink()
    assert mounts.resolve(both[1]) == both[0]
    put(root / "datasets/other/weights/vit.bin")
    assert mounts.resolve(both[1]) == both[1]
