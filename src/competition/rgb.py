"""Pictures of every mode that Pillow knows, as 8-bit RGB."""

import numpy as np
from PIL import Image

ORDINARY = ("RGB", "L")  # the modes of 8-bit colour and grey photographs


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` as 8-bit RGB; no grey is clipped.

    Of 16-bit greys, 0 … 65535 become 0 … 255. For 32-bit integers and floats no format says where
    white is: the least value of the picture becomes 0, its greatest 255. Alpha is dropped, as in
    fastai's `PILImage.create`, so that a model exported to plain fastai sees the same pixels.
    Raises ValueError for values that are not finite.
    """
    if image.mode == "RGB":
        return image
    if image.mode == "La":  # which Pillow converts to nothing but LA
        image = image.convert("LA")
    elif image.mode.startswith("I;16"):
        image = _from_greys(np.asarray(image) / 65535)
    elif image.mode in ("I", "F"):
        image = _from_greys(_own_range(np.asarray(image, np.float64)))
    image.info.pop("transparency", None)  # of a palette: Pillow would warn that it is dropped
    return image.convert("RGB")


def _own_range(values: np.ndarray) -> np.ndarray:
    """`values` moved and scaled to 0 … 1; zeros where all are equal."""
    if not np.isfinite(values).all():
        raise ValueError("holds values that are no finite numbers")
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _from_greys(shares: np.ndarray) -> Image.Image:
    """An 8-bit grey picture of shares of white, 0 … 1."""
    return Image.fromarray(np.rint(shares * 255).astype(np.uint8))
