"""`views.cut` on a GPU, which is sent the shrunk photograph instead of all its views."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from src.vision.views import Frame, View, light_table, resize_map


def cut(photo: np.ndarray, views: list[View], frame: Frame, device: torch.device) -> Tensor:
    """As `views.cut`, but for a few grey levels and the exact edge of a padding.

    uint8, views × 3 × height × width.
    """
    pixels = torch.from_numpy(photo).to(device).permute(2, 0, 1).float()
    grid = _item_grid(np.stack([view.matrix for view in views]), frame.size, device)
    grid = 1 - ((grid + 1) % 4 - 2).abs()  # mirror images beyond the edges, again and again
    places = np.array([resize_map(photo.shape[:2], frame, view.at) for view in views])
    scale, shift = torch.from_numpy(places).float().to(device)[..., None, None].unbind(1)
    grid.mul_(scale).add_(shift)
    photos, points = pixels.expand(len(views), -1, -1, -1), grid.permute(0, 2, 3, 1)
    out = F.grid_sample(photos, points, padding_mode="border", align_corners=False)
    if frame.resize == "pad":
        out *= (grid.abs() <= 1).all(1, keepdim=True)
    return _light(out.add_(0.5).to(torch.uint8), views)


def _item_grid(matrices: np.ndarray, size: tuple[int, int], device: torch.device) -> Tensor:
    """Where the pixels of `size` lie in the item image: views × (x, y) × height × width."""
    x = torch.arange(size[1], device=device, dtype=torch.float32)
    y = torch.arange(size[0], device=device, dtype=torch.float32)[:, None]
    a, b, c = torch.from_numpy(matrices).float().to(device)[..., None, None].unbind(2)
    points = a * x + (b * y + c)
    return points[:, :2].div_(points[:, 2:])


def _light(images: Tensor, views: list[View]) -> Tensor:
    tables = torch.from_numpy(np.stack([light_table(view) for view in views])).to(images.device)
    return tables.gather(1, images.flatten(1).long()).view_as(images)
