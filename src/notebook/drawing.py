"""What all figures share: colours, resolution, and that they are returned instead of shown."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of Okabe and Ito's palette: distinct for colour-blind readers, and in grey.
BLUE, ORANGE, GREY, PALE = "#0072B2", "#D55E00", "#8C8C8C", "#E5E5E5"
DPI = 110


def new_figure(width: float, height: float, **grid: Any) -> tuple["Figure", Any]:
    """A figure of so many inches and its axes; closed, so that only its return value is drawn.

    matplotlib is loaded here: nobody waits for it who only prints.
    """
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(figsize=(width, height), dpi=DPI, layout="constrained", **grid)
    plt.close(fig)
    return fig, axes
