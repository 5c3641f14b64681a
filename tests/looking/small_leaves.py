"""Drawn leaves with spots of their own, in a competition, and copies of them that were changed."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageOps

SIZE = 320, 240  # height, width
CHANGES = {
    "encoded": lambda image: image,
    "resized": lambda image: ImageOps.scale(image, 0.7),
    "mirrored": ImageOps.mirror,
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "again": lambda image: image.rotate(4, Image.Resampling.BICUBIC).crop((20, 24, 224, 296)),
}


def leaf(seed: int) -> Image.Image:
    """A leaf that lies, is spotted and is lit in its own way on a rough ground."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 140, (*SIZE, 3)).astype(np.uint8)
    middle, slope = random.uniform(60, 180), random.uniform(-0.4, 0.4)
    for row in range(SIZE[0]):
        at, half = middle + slope * (row - SIZE[0] / 2), 40 * np.sin(np.pi * (row + 8) / 336)
        pixels[row, max(0, int(at - half)) : max(0, int(at + half))] = 60, 150, 50
    for _ in range(60):
        place = random.integers(0, SIZE[1]), random.integers(0, SIZE[0])
        colour = tuple(map(int, random.integers(0, 255, 3)))
        cv2.circle(pixels, tuple(map(int, place)), int(random.integers(2, 9)), colour, -1)
    return Image.fromarray(cv2.GaussianBlur(pixels, (3, 3), 0))


def competition_in(folder: Path, train: dict[str, tuple[str, Image.Image | bytes]],
                   test: dict[str, Image.Image | bytes]) -> Path:  # fmt: skip
    """A competition of pictures, or of the bytes of files: image_id → label and picture."""
    files = {Path("train_images", label, name): image for name, (label, image) in train.items()}
    files |= {Path("test_images", name): image for name, image in test.items()}
    for file, image in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(image, bytes):
            path.write_bytes(image)
        else:
            image.save(path, "JPEG", quality=92)
    rows = [[name, label, "ADT45", 45] for name, (label, _) in train.items()]
    columns = ["image_id", "label", "variety", "age"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "train.csv", index=False)
    pd.DataFrame({"image_id": [*test], "label": ""}).to_csv(
        folder / "sample_submission.csv", index=False)
    return folder
