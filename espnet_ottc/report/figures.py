"""The report's figures: learning curves, the alignment over the epochs, utterances with their words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from espnet_ottc.alignment.spans import CHARACTER_SEPARATORS, SENTENCEPIECE_MARK, Span
from espnet_ottc.report.curves import Curves
from espnet_ottc.report.drawing import (
    INK,
    MUTED,
    PANEL_INCHES,
    PAPER,
    SERIES,
    STYLE,
    colour_of,
    inches_per_second,
    lane_axes,
    matplotlib_or_error,
    new_figure,
    printable,
    set_margins,
    svg_of,
    time_axis,
    timed_width,
    write_label,
)
from espnet_ottc.report.evolution import Evolution, Snapshot
from espnet_ottc.report.utterances import Utterance

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NO_LETTERS = CHARACTER_SEPARATORS | {SENTENCEPIECE_MARK, "<blank>"}
# Words that would have to be smaller have no name in the figure; the table below has it.
_LEAST_POINTS = 4.5
_WINDOW_SECONDS, _DYNAMIC_RANGE_DB = 0.025, 70.0
_LINES: dict[str, str | tuple[int, tuple[int, int]]] = {"train": (0, (4, 2)), "valid": "-"}


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
    with matplotlib_or_error().rc_context(STYLE):
        count = len(losses) + len(measures)
        figure = new_figure(PANEL_INCHES * count, 2.9, layout="constrained")
        for place, system in enumerate(losses):
            axes = figure.add_subplot(1, count, place + 1)
            for phase, line in _LINES.items():
                points = [curve.of(phase, "loss") for curve in curves if curve.system == system]
                _lines(axes, points, phase, color=colour_of(systems, system), linestyle=line)
            _dress(axes, f"{system}: loss")
        for place, (name, title, factor) in enumerate(measures, len(losses)):
            axes = figure.add_subplot(1, count, place + 1)
            for system in systems:
                points = [
                    {epoch: factor * value for epoch, value in curve.of("valid", name).items()}
                    for curve in curves
                    if curve.system == system
                ]
                _lines(axes, points, system, color=colour_of(systems, system), linestyle="-")
            _dress(axes, title)
            axes.set_ylim(bottom=0)
        return svg_of(figure, prefix)


def evolution_figure(
    evolution: Evolution, reference: Sequence[Span], duration: float, prefix: str
) -> str:
    """The alignment after each epoch: labels where the plan puts them over the weight of each frame."""
    with matplotlib_or_error().rc_context(STYLE):
        snapshots = evolution.snapshots
        heights = [0.45 if reference else 0.01, *[1.0] * len(snapshots)]
        figure = new_figure(timed_width(duration), 0.9 * sum(heights) + 0.7)
        axes = figure.subplots(
            len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.12}
        )
        set_margins(figure, bottom=0.45, top=0.1)
        axes[0].set_xlim(0, duration)
        _words(axes[0], reference, MUTED, 0.1, 0.9)
        lane_axes(axes[0], "reference" if reference else "")
        limit = _weight_limit(snapshots)
        for panel, snapshot in zip(axes[1:], snapshots, strict=True):
            _snapshot(panel, snapshot, evolution, limit)
            for edge in {time for word in reference for time in (word.start, word.end)}:
                panel.axvline(edge, color=INK, lw=0.6, ls=(0, (2, 2)), alpha=0.6)
        time_axis(axes[-1])
        return svg_of(figure, prefix)


def utterance_figure(utterance: Utterance, systems: Sequence[str], prefix: str) -> str:
    """Spectrogram, reference words, and each system's words and tokens, one under the other."""
    with matplotlib_or_error().rc_context(STYLE):
        heights = [2.2, 0.5, *[0.85 if lane.tokens else 0.5 for lane in utterance.lanes]]
        figure = new_figure(timed_width(utterance.duration), 0.85 * sum(heights) + 0.6)
        axes = figure.subplots(
            len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.1}
        )
        set_margins(figure, bottom=0.45, top=0.1)
        _spectrogram(axes[0], utterance)
        axes[0].set_xlim(0, utterance.duration)
        _words(axes[1], utterance.words, MUTED, 0.1, 0.9)
        lane_axes(axes[1], "reference")
        for panel, lane in zip(axes[2:], utterance.lanes, strict=True):
            colour = colour_of(systems, lane.system)
            _words(panel, lane.words, colour, 0.45 if lane.tokens else 0.1, 0.95)
            _tokens(panel, lane.tokens, colour, 0.05, 0.38)
            lane_axes(panel, lane.title)
        for panel in axes[2:]:
            for edge in {time for word in utterance.words for time in (word.start, word.end)}:
                panel.axvline(edge, color=INK, lw=0.6, ls=(0, (2, 2)), alpha=0.6)
        time_axis(axes[-1])
        return svg_of(figure, prefix)


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
        axes.axvspan(word.start, word.end, color=SERIES[1], alpha=(0.16, 0.28)[place % 2], lw=0)
    heights = np.minimum(T * np.array(snapshot.alpha), limit)
    axes.stairs(heights, edges, fill=True, color=SERIES[0], alpha=0.85)
    axes.axhline(1, color=MUTED, lw=0.5)
    for token in snapshot.tokens:
        silent = not any(word.start <= token.start < word.end for word in snapshot.words)
        centre = (token.start + token.end) / 2
        axes.plot([centre], [1.28 * limit], "o", ms=2.4, color=MUTED if silent else SERIES[1])
        if not (silent or token.symbol.startswith("<")) and len(snapshot.tokens) <= 120:
            write_label(axes, centre, 1.13 * limit, token.symbol, 7)
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
    scale = inches_per_second(axes)
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
            write_label(axes, centre, (low + high) / 2, word.symbol, min(size, 8))


def _tokens(axes: "Axes", tokens: Sequence[Span], colour: str, low: float, high: float) -> None:
    letters = [token for token in tokens if token.symbol not in _NO_LETTERS]
    axes.broken_barh(
        [(token.start, token.duration) for token in letters],
        (low, high - low),
        facecolor=colour,
        edgecolor=PAPER,
        lw=0.25,
    )


def _dress(axes: "Axes", title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(printable(title), parse_math=False)
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
        line.set_label("\u200b" + printable(label) if number == 0 else "_")
