"""Where a model looks: how far the probability of its answer falls while a place is hidden."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from src import bundle
from src.core import atomic_path, cache_dir, make_variant, models_dir, sha256, terminal
from src.ensemble import Ensemble, average_of

PLACES = 8  # along each side, hidden by soft squares of the mean colour
LEAST = 0.05  # where no fall is as large, no single place is needed


def occlusion_maps(ensemble: Ensemble, files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Held-out image → PLACES × PLACES falls of the probability of the answer; cached."""
    tables: dict[str, dict[str, pd.DataFrame]] = {image: {} for image in files}
    for member in (member for member in ensemble.members if member.name in ensemble.tables):
        for card in member.models:
            held = bundle.read_predictions(models_dir(), card, "valid")["plain"].index
            for image, probs in _probs(card, {i: files[i] for i in files if i in held}).items():
                tables[image][member.name] = pd.DataFrame(probs, columns=card["classes"])
    means = {i: average_of(ensemble.members, found, ensemble.mean) for i, found in tables.items()}
    falls = {i: mean[ensemble.valid.loc[i].idxmax()].to_numpy() for i, mean in means.items()}
    return {i: (fall[0] - fall[1:]).reshape(PLACES, PLACES) for i, fall in falls.items()}


def _probs(card: Mapping, files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Image → (1 + PLACES²) × classes by one model: of the whole picture, then of each place."""
    place, key = cache_dir() / "occlusion", card["sha256"][:16]
    saved = {image: place / f"{key}_{sha256(file)[:16]}.npy" for image, file in files.items()}
    missing = {image: files[image] for image, path in saved.items() if not path.is_file()}
    for image, probs in _predict(card, missing) if missing else ():
        with atomic_path(saved[image]) as temporary, open(temporary, "wb") as file:
            np.save(file, probs)
    return {image: np.load(path) for image, path in saved.items()}


def _predict(card: Mapping, files: Mapping[str, Path]) -> Iterator[tuple[str, np.ndarray]]:
    import torch
    from tqdm import tqdm

    from src import vision
    from src.predict import Model, forward

    variant = make_variant(**card["variant"])
    model = Model(bundle.load(models_dir(), card["name"]), variant)
    model.learn.model.eval()
    tfm, frame = vision.item_tfms(variant), vision.frame_of(variant)

    def _see(picture: Image.Image) -> torch.Tensor:
        return vision.plain_view(tfm(picture, split_idx=1), frame)

    # Resized as the photograph is: what is padded or cut off is not hidden.
    bands = cache(lambda kind, size: [_see(kind(band)) for band in _bands(size)])
    for image, file in tqdm(files.items(), f"hide places, {card['name']}", file=terminal()):
        photo = vision.open_image(file)
        view, crossing = _see(photo), bands(type(photo), photo.size)
        mean = torch.tensor(np.asarray(photo).mean((0, 1)) / 255).float()[:, None, None]
        rows, columns = crossing[:PLACES], torch.stack(crossing[PLACES:])
        with torch.inference_mode():
            parts = [forward(model, view + row * columns * (mean - view)) for row in rows]
            yield image, torch.cat([forward(model, view[None]), *parts]).numpy()


def _bands(size: tuple[int, int]) -> Iterator[Image.Image]:
    """Soft white rows, then columns, of a picture of this size: two of them cross in a square."""
    one = 255 * np.eye(PLACES, dtype=np.uint8)[:, :, None]
    for band in (*one, *one.transpose(0, 2, 1)):
        soft = Image.fromarray(band).resize(size, Image.BILINEAR)
        yield soft.point(lambda light: min(255, 2 * light)).convert("RGB")


def lit(photo: Image.Image, fall: np.ndarray) -> Image.Image:
    """The photograph, as bright as the answer falls."""
    share = Image.fromarray(np.uint8(255 * (fall / fall.max()).clip(0, 1)))
    light = np.asarray(share.resize(photo.size, Image.BILINEAR))[:, :, None] / 255
    return Image.fromarray(np.uint8(np.asarray(photo) * (0.3 + 0.7 * light)))


def place_phrase(answer: str, fall: np.ndarray) -> str:
    """What the map says, with its scale."""
    if (most := fall.max()) < LEAST:
        return f"no single place: hidden, none lowers the probability of {answer} by {LEAST}"
    row, column = (3 * int(n) // PLACES for n in np.unravel_index(fall.argmax(), fall.shape))
    where = f"{('upper', 'middle', 'lower')[row]} {('left', 'centre', 'right')[column]}"
    return f"the brightest place, {where}, is worth {most:.2f} of the probability of {answer}"
