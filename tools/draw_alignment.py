"""Draw the alignment of one utterance by several trained models: the picture of README.md.

    cd egs2/librispeech_ottc && ./run.sh --systems ctc ottc --stop_stage 9 && cd ../..
    R=egs2/librispeech_ottc
    python tools/draw_alignment.py --cuts $R/data/test-clean/cuts.jsonl.gz --out docs/assets/alignment.png \\
        --alignments $R/exp/{ctc/seed1/align_forced_align,ottc/seed1/align_viterbi}/test-clean

Reads what stage 9 of a recipe has written: `words.ctm` of each alignment, and `frames/<set>/labels` and
`frame_grid.json` of its model.  One row a model has the label of each frame above the words that come
of it, with the reference's words behind them.  The figure says which models they are, and the command.
Exit status: 0; 1 for a fault of the input; 2 for wrong options.
"""

import argparse
import json
import shlex
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from lhotse import CutSet
from lhotse.cut import Cut

from espnet_ottc.alignment.formats import SpansById, read_ctm, read_text
from espnet_ottc.alignment.spans import CHARACTER_SEPARATORS, FrameGrid, Span
from espnet_ottc.report.utterances import READABLE_SECONDS, load_utterance, reference_words
from espnet_ottc.utils.commands import run
from espnet_ottc.utils.files import written_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NO_LETTERS = CHARACTER_SEPARATORS | {"<blank>", "▁"}
_REFERENCE, _COLOURS, _NOTHING = "#9a9a9a", ("#c0504d", "#2f6db3", "#3f8f4f"), "#ececec"
_STYLE: Any = {  # matplotlib names its keys one by one in its types
    "svg.fonttype": "path",
    "svg.hashsalt": "espnet_ottc",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
}
_INCHES, _WAVEFORM_POINTS, _FOOTER_CHARACTERS = 9.0, 700, 200
_LEFT, _RIGHT = 0.13, 0.99  # of the axes, as shares of the width


@dataclass(frozen=True)
class Alignment:
    """One model's times of a set.

    Attributes:
        name: the system.
        about: system, seed, decoder in time and configuration, for the figure.
        grid: where frames lie in time.
        labels: by utterance, the label of each frame.
        words: by utterance, in seconds.
    """

    name: str
    about: str
    grid: FrameGrid
    labels: Mapping[str, Sequence[str]]
    words: SpansById


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    command = f"python tools/draw_alignment.py {shlex.join(given)}"
    return run(lambda: _draw(options, command))


def read_alignment(folder: Path) -> Alignment:
    """Read `<system>/seed<N>/align_<decoder>/<set>` and what lies beside it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a malformed file.
    """
    experiment = folder.parents[1]
    grid = _json(experiment / "frame_grid.json")
    about = _json(experiment / "provenance.json")
    system, decoder = experiment.parent.name, folder.parent.name.removeprefix("align_")
    return Alignment(
        system,
        f"{system}, {experiment.name}, times by {decoder}, {about['config']}",
        FrameGrid(float(grid["shift"]), float(grid["offset"])),
        read_text(experiment / "frames" / folder.name / "labels"),
        read_ctm(folder / "words.ctm"),
    )


def choose_cut(
    cuts: Iterable[Cut], alignments: Sequence[Alignment], name: str | None, words: int | None = None
) -> Cut:
    """The utterance of this name; without one the median, by the first model's boundary error.

    Only utterances of at most 10 s with reference times (of `words` words, if that is given) that every
    model has aligned can be chosen.

    Raises:
        ValueError: there is none.
    """
    fit = [
        cut
        for cut in cuts
        if (name is None or cut.id == name)
        and cut.duration <= READABLE_SECONDS
        and words in (None, len(reference_words(cut)))
        and all(
            len(a.words.get(cut.id, ())) == len(reference_words(cut)) > 0 and cut.id in a.labels
            for a in alignments
        )
    ]
    if not fit:
        raise ValueError(
            f"{name or 'every utterance'}: must be at most {READABLE_SECONDS:g} s long, with reference times "
            "and as many words in every alignment"
        )
    errors = {
        cut.id: boundary_error(reference_words(cut), alignments[0].words[cut.id]) for cut in fit
    }
    return sorted(fit, key=lambda cut: (errors[cut.id], cut.id))[len(fit) // 2]


def boundary_error(reference: Sequence[Span], found: Sequence[Span]) -> float:
    """Mean distance of starts and ends in seconds, word by word."""
    return fmean(
        distance
        for one, other in zip(reference, found, strict=True)
        for distance in (abs(one.start - other.start), abs(one.end - other.end))
    )


def draw(cut: Cut, alignments: Sequence[Alignment], footer: str) -> "Figure":
    """Waveform and reference words, then a row of frames and words for each model."""
    import matplotlib
    from matplotlib.figure import Figure

    utterance = load_utterance(cut, ())
    with matplotlib.rc_context(_STYLE):
        rows = 1 + len(alignments)
        figure = Figure(figsize=(_INCHES, 0.95 * rows + 0.85), facecolor="white")
        axes = figure.subplots(rows, 1, sharex=True)
        figure.subplots_adjust(
            left=_LEFT, right=_RIGHT, top=0.97, bottom=0.85 / (0.95 * rows + 0.85)
        )
        axes[0].set_xlim(0, utterance.duration)
        _waveform(axes[0], utterance.samples, utterance.sampling_rate)
        _words(axes[0], utterance.words, _REFERENCE, -0.9, -0.3)
        _row(axes[0], "reference", (-0.95, 1.05))
        for place, (panel, alignment) in enumerate(zip(axes[1:], alignments, strict=True)):
            colour = _COLOURS[place % len(_COLOURS)]
            words = alignment.words[cut.id]
            error = 1000 * boundary_error(utterance.words, words)
            _frames(panel, alignment.labels[cut.id], alignment.grid, colour)
            _words(panel, words, colour, 0.0, 0.42)
            _row(panel, f"{alignment.name}\nerror {error:.0f} ms", (-0.05, 1.1))
            for word in utterance.words:
                panel.axvspan(word.start, word.end, color=_REFERENCE, alpha=0.18, lw=0, zorder=0)
        axes[-1].tick_params(bottom=True, labelbottom=True)
        axes[-1].spines["bottom"].set_visible(True)
        axes[-1].set_xlabel("seconds")
        figure.text(
            0.005, 0.01, footer, fontsize=5.5, color="#555555", parse_math=False, va="bottom"
        )
    return figure


def _draw(options: argparse.Namespace, command: str) -> None:
    import matplotlib

    alignments = [read_alignment(folder) for folder in options.alignments]
    cut = choose_cut(CutSet.from_file(options.cuts), alignments, options.utterance, options.words)
    about = "; ".join(alignment.about for alignment in alignments)
    footer = "\n".join(
        line
        for text in (f"Utterance {cut.id}. {about}.", command)
        for line in textwrap.wrap(
            text, _FOOTER_CHARACTERS, break_long_words=False, break_on_hyphens=False
        )
    )
    figure = draw(cut, alignments, footer)
    kind = options.out.suffix.removeprefix(".")
    # The date would change the file each time.
    metadata = {"Date": None} if kind == "svg" else None
    with matplotlib.rc_context(_STYLE), written_aside(options.out) as aside:
        figure.savefig(aside, format=kind, dpi=160, metadata=metadata)
    print(f"{cut.id}: {options.out}, {options.out.stat().st_size / 1000:.0f} kB")


def _waveform(axes: "Axes", samples: Any, rate: int) -> None:
    size = max(len(samples) // _WAVEFORM_POINTS, 1)
    blocks = samples[: len(samples) // size * size].reshape(-1, size)
    times = (np.arange(len(blocks)) + 0.5) * size / rate
    scale = 0.6 / max(float(np.abs(samples).max()), 1e-9)
    axes.fill_between(
        times, 0.4 + scale * blocks.min(1), 0.4 + scale * blocks.max(1), color="#333333", lw=0
    )


def _words(axes: "Axes", words: Sequence[Span], colour: str, low: float, high: float) -> None:
    inches = _INCHES * (_RIGHT - _LEFT) / axes.get_xlim()[1]  # of a second
    for word in words:
        axes.broken_barh(
            [(word.start, word.duration)], (low, high - low), facecolor=colour, alpha=0.45, lw=0
        )
        axes.vlines([word.start, word.end], low, high, color=colour, lw=1.0)
        # A capital takes about 0.75 of the font's size.
        room = 72 * inches * word.duration / (0.75 * max(len(word.symbol), 1))
        size = min(max(room, 4.0), 7.0)
        _text(axes, (word.start + word.end) / 2, (low + high) / 2, word.symbol, size)


def _frames(axes: "Axes", labels: Sequence[str], grid: FrameGrid, colour: str) -> None:
    """The label of each frame: its letter over runs of it, grey where it is none."""
    first = 0
    for label, run_of_label in groupby(labels):
        count = len(list(run_of_label))
        start = grid.offset + grid.shift * first
        length = grid.shift * count
        silent = label in _NO_LETTERS
        axes.broken_barh(
            [(start, length)],
            (0.5, 0.3),
            facecolor=_NOTHING if silent else colour,
            edgecolor="white",
            lw=0.3,
        )
        if not silent:
            _text(axes, start + length / 2, 0.93, label, 5.5)
        first += count


def _text(axes: "Axes", x: float, y: float, text: str, points: float) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=points, parse_math=False)


def _row(axes: "Axes", title: str, limits: tuple[float, float]) -> None:
    axes.set_ylim(*limits)
    axes.set_yticks([])
    axes.set_ylabel(title, rotation=0, ha="right", va="center")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False)


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python tools/draw_alignment.py",
        description="Draw the alignment of one utterance by several trained models.",
        allow_abbrev=False,
    )
    options.add_argument("--cuts", type=Path, required=True, help="the set's cuts.jsonl.gz")
    options.add_argument(
        "--alignments",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="<system>/seed<N>/align_<decoder>/<set>, one a row",
    )
    options.add_argument(
        "--utterance", help="default: the median by the boundary error of the first alignment"
    )
    options.add_argument(
        "--words", type=int, metavar="N", help="choose among utterances of N words"
    )
    options.add_argument("--out", type=Path, required=True, help=".svg or .png")
    return options


if __name__ == "__main__":
    sys.exit(main())
