"""The report's figures, drawn by matplotlib as inline SVG that follows the page's colours."""

import io
import re
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

import numpy as np

from espnet_ottc.alignment.spans import CHARACTER_SEPARATORS, SENTENCEPIECE_MARK, Span
from espnet_ottc.report.curves import Curves
from espnet_ottc.report.evolution import Evolution, Snapshot
from espnet_ottc.report.utterances import Utterance
from espnet_ottc.utils.extras import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that `_svg` turns into the page's CSS variables, so that figures follow light and dark.
_INK, _MUTED, _PAPER, _GRID = "#010203", "#020304", "#030405", "#040506"
_SERIES = ("#050601", "#050602", "#050603", "#050604", "#050605", "#050606")
_VARIABLES = {
    _INK: "ink",
    _MUTED: "muted",
    _PAPER: "paper",
    _GRID: "grid",
    **{colour: f"series-{place}" for place, colour in enumerate(_SERIES)},
}
_COLOUR = re.compile("|".join(_VARIABLES))
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "espnet_ottc",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
}
_NO_LETTERS = CHARACTER_SEPARATORS | {SENTENCEPIECE_MARK, "<blank>"}
# Of a panel of curves; and pixels of the page for an inch of a figure.
PANEL_INCHES = 3.0
PIXELS_PER_INCH = 96
_INCHES_PER_SECOND = 1.4
# Words that would have to be smaller have no name in the figure; the table below has it.
_LEAST_POINTS = 4.5
_LEFT_INCHES, _RIGHT_INCHES = 1.35, 0.15
_WINDOW_SECONDS, _DYNAMIC_RANGE_DB = 0.025, 70.0
_LINES: dict[str, str | tuple[int, tuple[int, int]]] = {"train": (0, (4, 2)), "valid": "-"}


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


def curves_figure(
    curves: Sequence[Curves],
    systems: Sequence[str],
    losses: Sequence[str],
    measures: Sequence[tuple[str, str, float]],
    prefix: str,
) -> str:
    """Panels side by side: the loss of some systems, then measures of the validation data of all.

    Args:
        curves: one per system and seed.
        systems: in the page's order, for the colours.
        losses: systems that get a panel of their own: their losses have different scales.
        measures: (name in the logs, title with unit, factor).
        prefix: for ids, unique on the page.
    """
    with matplotlib_or_error().rc_context(_STYLE):
        count = len(losses) + len(measures)
        figure = _figure(PANEL_INCHES * count, 2.9, layout="constrained")
        for place, system in enumerate(losses):
            axes = figure.add_subplot(1, count, place + 1)
            for phase, line in _LINES.items():
                points = [curve.of(phase, "loss") for curve in curves if curve.system == system]
                _lines(axes, points, phase, color=_colour(systems, system), linestyle=line)
            _dress(axes, f"{system}: loss")
        for place, (name, title, factor) in enumerate(measures, len(losses)):
            axes = figure.add_subplot(1, count, place + 1)
            for system in systems:
                points = [
                    {epoch: factor * value for epoch, value in curve.of("valid", name).items()}
                    for curve in curves
                    if curve.system == system
                ]
                _lines(axes, points, system, color=_colour(systems, system), linestyle="-")
            _dress(axes, title)
            axes.set_ylim(bottom=0)
        return _svg(figure, prefix)


def evolution_figure(
    evolution: Evolution, reference: Sequence[Span], duration: float, prefix: str
) -> str:
    """The alignment after each epoch: labels where the plan puts them over the weight of each frame."""
    with matplotlib_or_error().rc_context(_STYLE):
        snapshots = evolution.snapshots
        heights = [0.45 if reference else 0.01, *[1.0] * len(snapshots)]
        figure = _figure(timed_width(duration), 0.9 * sum(heights) + 0.7)
        axes = figure.subplots(
            len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.12}
        )
        _margins(figure, bottom=0.45, top=0.1)
        axes[0].set_xlim(0, duration)
        _words(axes[0], reference, _MUTED, 0.1, 0.9)
        _lane_axes(axes[0], "reference" if reference else "")
        limit = _weight_limit(snapshots)
        for panel, snapshot in zip(axes[1:], snapshots, strict=True):
            _snapshot(panel, snapshot, evolution, limit)
            for edge in {time for word in reference for time in (word.start, word.end)}:
                panel.axvline(edge, color=_INK, lw=0.6, ls=(0, (2, 2)), alpha=0.6)
        _time_axis(axes[-1])
        return _svg(figure, prefix)


def utterance_figure(utterance: Utterance, systems: Sequence[str], prefix: str) -> str:
    """Spectrogram, reference words, and each system's words and tokens, one under the other."""
    with matplotlib_or_error().rc_context(_STYLE):
        heights = [2.2, 0.5, *[0.85 if lane.tokens else 0.5 for lane in utterance.lanes]]
        figure = _figure(timed_width(utterance.duration), 0.85 * sum(heights) + 0.6)
        axes = figure.subplots(
            len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.1}
        )
        _margins(figure, bottom=0.45, top=0.1)
        _spectrogram(axes[0], utterance)
        axes[0].set_xlim(0, utterance.duration)
        _words(axes[1], utterance.words, _MUTED, 0.1, 0.9)
        _lane_axes(axes[1], "reference")
        for panel, lane in zip(axes[2:], utterance.lanes, strict=True):
            colour = _colour(systems, lane.system)
            _words(panel, lane.words, colour, 0.45 if lane.tokens else 0.1, 0.95)
            _tokens(panel, lane.tokens, colour, 0.05, 0.38)
            _lane_axes(panel, lane.title)
        for panel in axes[2:]:
            for edge in {time for word in utterance.words for time in (word.start, word.end)}:
                panel.axvline(edge, color=_INK, lw=0.6, ls=(0, (2, 2)), alpha=0.6)
        _time_axis(axes[-1])
        return _svg(figure, prefix)


def plot_edges(duration: float) -> tuple[float, float]:
    """Where the time axis of such a figure begins and ends, as shares of its width."""
    width = timed_width(duration)
    return _LEFT_INCHES / width, 1 - _RIGHT_INCHES / width


def _spectrogram(axes: "Axes", utterance: Utterance) -> None:
    rate = utterance.sampling_rate
    size = min(1 << max(int(_WINDOW_SECONDS * rate).bit_length(), 4), len(utterance.samples))
    hop = max(size // 4, 1)
    windows = np.lib.stride_tricks.sliding_window_view(utterance.samples, size)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)) ** 2
    level = 10 * np.log10(power.T + 1e-12)
    # The first window is centred half a window into the audio.
    left = (size - hop) / 2 / rate
    axes.imshow(
        np.clip(level, level.max() - _DYNAMIC_RANGE_DB, None),
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(left, left + len(windows) * hop / rate, 0, rate / 2000),
    )
    axes.set_ylabel("kHz")
    axes.tick_params(labelbottom=False, bottom=False)


def _snapshot(axes: "Axes", snapshot: Snapshot, evolution: Evolution, limit: float) -> None:
    T = len(snapshot.alpha)
    edges = [evolution.grid.offset + evolution.grid.shift * t for t in range(T + 1)]
    for place, word in enumerate(snapshot.words):
        axes.axvspan(word.start, word.end, color=_SERIES[1], alpha=(0.16, 0.28)[place % 2], lw=0)
    heights = np.minimum(T * np.array(snapshot.alpha), limit)
    axes.stairs(heights, edges, fill=True, color=_SERIES[0], alpha=0.85)
    axes.axhline(1, color=_MUTED, lw=0.5)
    for token in snapshot.tokens:
        silent = not any(word.start <= token.start < word.end for word in snapshot.words)
        centre = (token.start + token.end) / 2
        axes.plot([centre], [1.28 * limit], "o", ms=2.4, color=_MUTED if silent else _SERIES[1])
        if not (silent or token.symbol.startswith("<")) and len(snapshot.tokens) <= 120:
            _label(axes, centre, 1.13 * limit, token.symbol, 7)
    axes.set_ylim(0, 1.4 * limit)
    axes.set_yticks([])
    axes.set_ylabel(f"epoch {snapshot.epoch}", rotation=0, ha="right", va="center")
    axes.tick_params(labelbottom=False, bottom=False)


def _weight_limit(snapshots: Sequence[Snapshot]) -> float:
    """The height that the panels share: one frame with nearly all the weight must not flatten it."""
    weights = np.concatenate([len(s.alpha) * np.array(s.alpha) for s in snapshots])
    return float(max(np.quantile(weights, 0.995), 1.2))


def _words(axes: "Axes", words: Sequence[Span], colour: str, low: float, high: float) -> None:
    centres = [(word.start + word.end) / 2 for word in words]
    scale = _inches_per_second(axes)
    for place, (word, centre) in enumerate(zip(words, centres, strict=True)):
        axes.broken_barh(
            [(word.start, word.duration)],
            (low, high - low),
            facecolor=colour,
            alpha=0.3,
            edgecolor="none",
        )
        axes.vlines([word.start, word.end], low, high, color=colour, lw=1.2)
        gaps = [abs(centre - centres[n]) for n in (place - 1, place + 1) if 0 <= n < len(words)]
        room = max(word.duration, min(gaps, default=word.duration))
        # A capital takes about 0.75 of the font's size.
        size = 72 * scale * room / (0.75 * max(len(word.symbol), 1))
        if size >= _LEAST_POINTS:
            _label(axes, centre, (low + high) / 2, word.symbol, min(size, 8))


def _tokens(axes: "Axes", tokens: Sequence[Span], colour: str, low: float, high: float) -> None:
    letters = [token for token in tokens if token.symbol not in _NO_LETTERS]
    axes.broken_barh(
        [(token.start, token.duration) for token in letters],
        (low, high - low),
        facecolor=colour,
        edgecolor=_PAPER,
        lw=0.25,
    )


def _label(axes: "Axes", x: float, y: float, text: str, points: float) -> None:
    axes.text(
        x,
        y,
        _printable(text),
        ha="center",
        va="center",
        fontsize=points,
        # A dollar sign would open matplotlib's mathematics.
        parse_math=False,
        clip_on=True,
    )


def _printable(text: str) -> str:
    """The text without characters that XML forbids."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _lane_axes(axes: "Axes", title: str) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    lines = "\n".join(map(_printable, title.split()))
    axes.set_ylabel(lines, rotation=0, ha="right", va="center")
    axes.yaxis.label.set_parse_math(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(labelbottom=False, bottom=False)


def _inches_per_second(axes: "Axes") -> float:
    figure = axes.get_figure(root=True)
    assert figure is not None
    left, right = axes.get_xlim()
    return float((figure.get_size_inches()[0] - _LEFT_INCHES - _RIGHT_INCHES) / (right - left))


def _time_axis(axes: "Axes") -> None:
    axes.spines["bottom"].set_visible(True)
    axes.tick_params(labelbottom=True, bottom=True)
    axes.set_xlabel("seconds")


def _dress(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(_printable(title), parse_math=False)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(left=0.5)
    axes.grid(True)
    if axes.lines:
        for text in axes.legend().get_texts():
            text.set_parse_math(False)


def _lines(
    axes: "Axes",
    curves: Sequence[dict[int, float]],
    label: str,
    *,
    color: str,
    linestyle: str | tuple[int, tuple[int, int]],
) -> None:
    """One line a seed, of which the first stands in the legend."""
    for number, points in enumerate(points for points in curves if points):
        (line,) = axes.plot(
            list(points), list(points.values()), color=color, ls=linestyle, lw=1.3, alpha=0.85
        )
        # A label that opens with an underscore would be left out.
        line.set_label("\u200b" + _printable(label) if number == 0 else "_")


def _colour(systems: Sequence[str], name: str) -> str:
    return _SERIES[list(systems).index(name) % len(_SERIES)]


def timed_width(duration: float) -> float:
    """Inches of a figure whose axis is the time of an utterance of `duration` seconds."""
    return max(10.0, _INCHES_PER_SECOND * duration + _LEFT_INCHES + _RIGHT_INCHES)


def _figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def _margins(figure: "Figure", bottom: float, top: float) -> None:
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=_LEFT_INCHES / width,
        right=1 - _RIGHT_INCHES / width,
        bottom=bottom / height,
        top=1 - top / height,
    )


def _svg(figure: "Figure", prefix: str) -> str:
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
