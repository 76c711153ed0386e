"""How the report's figures are drawn: matplotlib, as inline SVG that follows the page's colours."""

import io
import re
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from espnet_ottc.utils.extras import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that `svg_of` turns into the page's CSS variables, so that figures follow light and dark.
INK, MUTED, PAPER, GRID = "#010203", "#020304", "#030405", "#040506"
SERIES = ("#050601", "#050602", "#050603", "#050604", "#050605", "#050606")
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    PAPER: "paper",
    GRID: "grid",
    **{colour: f"series-{place}" for place, colour in enumerate(SERIES)},
}
_COLOUR = re.compile("|".join(_VARIABLES))
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "espnet_ottc",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}
# Of a panel of curves; and pixels of the page for an inch of a figure.
PANEL_INCHES = 3.0
PIXELS_PER_INCH = 96
_INCHES_PER_SECOND = 1.4
LEFT_INCHES, RIGHT_INCHES = 1.35, 0.15


def matplotlib_or_error() -> ModuleType:
    """matplotlib.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("the report with figures", "report", ["matplotlib"]) from error
    return matplotlib


def write_label(axes: "Axes", x: float, y: float, text: str, points: float) -> None:
    """Write a text about a point, in at most the space of the axes."""
    axes.text(
        x,
        y,
        printable(text),
        ha="center",
        va="center",
        fontsize=points,
        # A dollar sign would open matplotlib's mathematics.
        parse_math=False,
        clip_on=True,
    )


def printable(text: str) -> str:
    """The text without characters that XML forbids."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def lane_axes(axes: "Axes", title: str) -> None:
    """Axes of a row of words or tokens: no scale, its title to the left."""
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    lines = "\n".join(map(printable, title.split()))
    axes.set_ylabel(lines, rotation=0, ha="right", va="center")
    axes.yaxis.label.set_parse_math(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(labelbottom=False, bottom=False)


def inches_per_second(axes: "Axes") -> float:
    """How wide a second of the time axis is."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    left, right = axes.get_xlim()
    return float((figure.get_size_inches()[0] - LEFT_INCHES - RIGHT_INCHES) / (right - left))


def time_axis(axes: "Axes") -> None:
    """Seconds below the last of axes one under the other."""
    axes.spines["bottom"].set_visible(True)
    axes.tick_params(labelbottom=True, bottom=True)
    axes.set_xlabel("seconds")


def colour_of(systems: Sequence[str], name: str) -> str:
    """The colour of a system, by its place among all."""
    return SERIES[list(systems).index(name) % len(SERIES)]


def timed_width(duration: float) -> float:
    """Inches of a figure whose axis is the time of an utterance of `duration` seconds."""
    return max(10.0, _INCHES_PER_SECOND * duration + LEFT_INCHES + RIGHT_INCHES)


def new_figure(
    width: float, height: float, layout: Literal["constrained"] | None = None
) -> "Figure":
    """A figure of `width` times `height` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def set_margins(figure: "Figure", bottom: float, top: float) -> None:
    """Leave the same space beside the axes of every timed figure; `bottom` and `top` in inches."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=LEFT_INCHES / width,
        right=1 - RIGHT_INCHES / width,
        bottom=bottom / height,
        top=1 - top / height,
    )


def svg_of(figure: "Figure", prefix: str) -> str:
    """The figure as an <svg> element: no metadata, ids of its own, the page's colours."""
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The browser has fonts of its own for what matplotlib's lacks.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(buffer, format="svg", transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    root.attrib.pop("height", None)
    root.set("width", "100%")
    root.set("aria-hidden", "true")
    for element in root.iter():
        for name, value in element.items():
            if name == "id":
                value = f"{prefix}-{value}"
            value = re.sub(r"^#(?=[A-Za-z])|(?<=url\(#)", lambda m: f"{m[0]}{prefix}-", value)
            element.set(name, _COLOUR.sub(_variable, value))
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _variable(match: re.Match[str]) -> str:
    return f"var(--{_VARIABLES[match[0]]})"


def plot_edges(duration: float) -> tuple[float, float]:
    """Where the time axis of such a figure begins and ends, as shares of its width."""
    width = timed_width(duration)
    return LEFT_INCHES / width, 1 - RIGHT_INCHES / width
