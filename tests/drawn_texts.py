"""The texts that drawing a figure puts on paper, and whether all of them can be read."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.path import Path
from matplotlib.transforms import Affine2D

Outline = tuple[str, Path]


def texts(figure) -> list[Outline]:
    """All texts that drawing the figure puts on paper, with their outlines in pixels."""
    renderer, drawn = FigureCanvasAgg(figure).get_renderer(), []
    draw_text = renderer.draw_text

    def spy(*arguments, mtext=None, **options):
        drawn.append(mtext)
        draw_text(*arguments, mtext=mtext, **options)

    renderer.draw_text = spy
    figure.draw(renderer)
    return [(text.get_text(), _outline(text, renderer)) for text in drawn]


def _outline(text, renderer) -> Path:
    """Its corners; of slanted text not those of the upright box around it, which is far larger."""
    angle = text.get_rotation()
    if angle % 90 == 0:
        return _corners(text.get_window_extent(renderer))
    assert text.get_rotation_mode() == "anchor"
    text.set_rotation(0)
    upright = text.get_window_extent(renderer)
    anchor = text.get_transform().transform(text.get_position())
    text.set_rotation(angle)
    return _corners(upright).transformed(Affine2D().rotate_deg_around(*anchor, angle))


def _corners(box) -> Path:
    box = box.padded(-1)
    return Path([box.min, (box.x1, box.y0), box.max, (box.x0, box.y1), box.min])


def overlapping(figure) -> tuple[list[tuple[str, str]], list[str]]:
    """Pairs of texts that cover each other, and texts that leave the figure."""
    page = figure.bbox
    found = [(text, outline, outline.get_extents()) for text, outline in texts(figure)]
    pairs = [
        (one, other)
        for k, (one, outline, box) in enumerate(found) for other, its, its_box in found[k + 1:]
        if box.overlaps(its_box) and outline.intersects_path(its, filled=True)
    ]
    outside = [one for one, _, box in found
               if not (page.contains(box.x0, box.y0) and page.contains(box.x1, box.y1))]
    return pairs, outside
