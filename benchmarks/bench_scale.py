"""Memory and time of the stages that go through whole corpora, on synthetic cuts, few and many.

    python benchmarks/bench_scale.py --cuts 3000000 [--markdown docs/benchmarks_scale.md]

3 million cuts of 12 s are 10,000 hours.  There is no audio: stage 2 checks texts and times, stage 4 takes the
lengths that the cuts have, stage 10 writes the reference's times and scores.  Each step is a process of its
own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse import MonoCut

SECONDS = 12.0
WORDS = ("A", "SENTENCE", "OF", "SOME", "MORE", "WORDS")


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of the processor, and the most MiB of a process."""

    wall: float
    processor: float
    memory: float


def main() -> int:
    """Measure few cuts and many, write the table."""
    options = _parser().parse_args()
    if options.step is not None:
        STEPS[options.step](options.folder, options.cuts)
        return 0
    costs: dict[str, list[Cost]] = {name: [] for name in STEPS}
    counts = (options.few, options.cuts)
    for count in counts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for name, found in costs.items():
                found.append(_measured(name, Path(folder), count))
                print(f"{count:,} cuts, {name}: {found[-1]}", flush=True)
    text = _document(costs, counts, options)
    print(text)
    if options.markdown is not None:
        from common import write

        write(options.markdown, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--cuts", type=int, default=3_000_000)
    parser.add_argument("--few", type=int, default=100_000, help="to measure beside")
    parser.add_argument("--folder", type=Path, help="for what is written; default: a temporary one")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.set_defaults(device="cpu", dtype="float64", rounds=1, seed=0)
    return parser


def _measured(step: str, folder: Path, count: int) -> Cost:
    words = [
        sys.executable,
        __file__,
        "--step",
        step,
        "--folder",
        str(folder),
        "--cuts",
        str(count),
    ]
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{step} failed with status {status}")
    used = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - began, used, usage.ru_maxrss / 1024)


def _make_cuts(folder: Path, count: int) -> None:
    from espnet_ottc.corpora.manifests import write_cuts

    write_cuts(_cuts(count), folder / "data" / "many", decode=False)


def _cuts(count: int) -> "Iterator[MonoCut]":
    from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment
    from lhotse.supervision import AlignmentItem

    rate = 16000
    source = AudioSource("file", [0], "recording.flac")
    recording = Recording("recording", [source], rate, rate * 1000, 1000.0)
    length = SECONDS / len(WORDS)
    items = [AlignmentItem(word, n * length, length) for n, word in enumerate(WORDS)]
    for number in range(count):
        name = f"speaker{number % 991:04d}-chapter-{number:09d}"
        spoken = SupervisionSegment(
            *(name, "recording", 0.0, SECONDS), text=" ".join(WORDS), alignment={"word": items}
        )
        yield MonoCut(name, 0.0, SECONDS, 0, [spoken], recording=recording)


def _write_lengths(folder: Path, _: int) -> None:
    from espnet_ottc.recipe.lengths import write_lengths

    write_lengths(folder / "data" / "many" / "cuts.jsonl.gz", folder / "stats" / "speech_shape")


def _write_times(folder: Path, _: int) -> None:
    from espnet_ottc.recipe.scoring import write_reference_times

    write_reference_times(folder / "data" / "many" / "cuts.jsonl.gz", folder / "reference.ctm")


def _score_words(folder: Path, _: int) -> None:
    from espnet_ottc.alignment.scoring import score_word_files

    text = folder / "data" / "many" / "text"
    score_word_files(text, text)


def _score_times(folder: Path, _: int) -> None:
    from espnet_ottc.alignment.scoring import score_time_files

    score_time_files(folder / "reference.ctm", folder / "reference.ctm")


STEPS: Mapping[str, Callable[[Path, int], None]] = {
    "stage 2, cuts": _make_cuts,
    "stage 4, lengths": _write_lengths,
    "stage 10, times of the reference": _write_times,
    "stage 10, words": _score_words,
    "stage 10, times": _score_times,
}


def _document(
    costs: Mapping[str, Sequence[Cost]], counts: Sequence[int], options: argparse.Namespace
) -> str:
    # Late: a process starts with the memory of the one that starts it.
    from common import environment, provenance_lines

    hours = [count * SECONDS / 3600 for count in counts]
    about = environment(options, ("lhotse", "numpy"))
    cuts = [f"{count:,} cuts" for count in counts]
    lines = [
        "# Stages on whole corpora",
        "",
        f"Synthetic cuts of {SECONDS:g} s with {len(WORDS)} words, without audio: {cuts[0]} "
        f"({hours[0]:,.0f} h) and {cuts[1]} ({hours[1]:,.0f} h). Each step is a process of its own. Its "
        "memory is the most that it held.",
        "",
        *provenance_lines(about, "one run of each"),
        f"* load of the machine at the end, all programs together: {os.getloadavg()[1]:.1f} processes",
        "",
        f"| step | {' | '.join(f'MiB, {one}' for one in cuts)} | {' | '.join(f's, {one}' for one in cuts)} "
        "| processor s |",
        "| :-- | --: | --: | --: | --: | --: |",
    ]
    for name, (few, many) in costs.items():
        cells = (f"{few.memory:.0f}", f"{many.memory:.0f}", f"{few.wall:.0f}", f"{many.wall:.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {many.processor:.0f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
