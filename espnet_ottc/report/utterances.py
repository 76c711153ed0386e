"""A few utterances to look at and listen to: audio, reference words, and what each system says."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from lhotse.cut import Cut
from numpy.typing import NDArray

from espnet_ottc.alignment.formats import SpansById, read_ctm, read_manifest, spans_of, text_tier
from espnet_ottc.alignment.spans import Span
from espnet_ottc.report.results import Group

# Above this a figure of words is hard to read.
READABLE_SECONDS = 10.0
_MANIFEST = "cuts.jsonl.gz"


@dataclass(frozen=True)
class Lane:
    """One system's times of one utterance.

    Attributes:
        system, decoder: names.
        seed: of the training.
        words: in order of time.
        tokens: likewise; empty where none were written.
    """

    system: str
    decoder: str
    seed: int
    words: tuple[Span, ...]
    tokens: tuple[Span, ...]

    @property
    def title(self) -> str:
        """System and decoder; one name where they are the same."""
        return self.system if self.decoder == self.system else f"{self.system} {self.decoder}"


@dataclass(frozen=True, eq=False)
class Utterance:
    """One utterance with its reference and its lanes.

    Attributes:
        id: the cut's.
        text: the reference's words.
        duration: seconds.
        words: reference words with times, in order; empty where there are none.
        samples: (N,) float32, mono.
        sampling_rate: Hz.
        lanes: the systems' times.
    """

    id: str
    text: str
    duration: float
    words: tuple[Span, ...]
    samples: NDArray[np.float32]
    sampling_rate: int
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class SystemTimes:
    """The CTM files of one system, decoder and seed on one set."""

    system: str
    decoder: str
    seed: int
    words: SpansById
    tokens: SpansById


def manifest(data: Path, name: str) -> Path:
    """The cuts of the set `name`."""
    return data / name / _MANIFEST


def reference_words(cut: Cut) -> tuple[Span, ...]:
    """The words (or phones) of a cut in seconds from its start; empty where it has no times."""
    words: list[Span] = []
    for supervision in cut.supervisions:
        if tier := text_tier(supervision):
            # The preparation left times relative to the cut.
            words += spans_of(supervision, tier, origin=0.0)
    return tuple(words)


def read_times(group: Group, expdir: Path) -> SystemTimes:
    """The times of a group's first seed: `<system>/seed<N>/align_<decoder>/<set>/words.ctm`.

    Raises:
        FileNotFoundError: no `words.ctm`.
        ValueError: a malformed file.
    """
    seed = group.seeds[0]
    folder = expdir / group.system / f"seed{seed}" / f"align_{group.decoder}" / group.set
    tokens = folder / "tokens.ctm"
    return SystemTimes(
        group.system,
        group.decoder,
        seed,
        read_ctm(folder / "words.ctm"),
        read_ctm(tokens) if tokens.exists() else {},
    )


def choose_cuts(path: Path, count: int, times: Sequence[SystemTimes]) -> list[Cut]:
    """Utterances by rule, not by hand: evenly spaced in the set's order.

    Those that last at most 10 s, have word times and are in every system's files come before
    others.

    Raises:
        FileNotFoundError: no such manifest.
    """
    ranked: list[tuple[int, str]] = []
    for cut in read_manifest(path, "cuts"):
        known = sum(cut.id in system.words for system in times)
        faults = (cut.duration > READABLE_SECONDS) + (not reference_words(cut)) + len(times) - known
        ranked.append((faults, cut.id))
    if not ranked:
        return []
    best = min(faults for faults, _ in ranked)
    names = [name for faults, name in ranked if faults == best]
    step = max(len(names) / count, 1.0)
    chosen = {names[int(step * (place + 0.5))] for place in range(min(count, len(names)))}
    return [cut for cut in read_manifest(path, "cuts") if cut.id in chosen]


def load_utterance(cut: Cut, times: Sequence[SystemTimes]) -> Utterance:
    """Read a cut's audio (channels averaged), and gather its times.

    Raises:
        OSError, ValueError: audio that cannot be read; it names the cut.
    """
    try:
        audio = np.atleast_2d(cut.load_audio())
    # Lhotse has an exception of its own for each of its readers.
    except Exception as error:
        raise ValueError(f"{cut.id}: cannot read its audio: {error}") from error
    lanes = tuple(
        Lane(
            system.system,
            system.decoder,
            system.seed,
            tuple(system.words.get(cut.id, ())),
            tuple(system.tokens.get(cut.id, ())),
        )
        for system in times
    )
    return Utterance(
        id=cut.id,
        text=" ".join(supervision.text or "" for supervision in cut.supervisions),
        duration=cut.duration,
        words=reference_words(cut),
        samples=audio.mean(0).astype(np.float32),
        sampling_rate=cut.sampling_rate,
        lanes=lanes,
    )


def find_cut(data: Path, name: str) -> Cut:
    """The cut of this id in any set; small sets are searched first.

    Raises:
        FileNotFoundError: no set has it.
    """
    paths = sorted(data.glob(f"*/{_MANIFEST}"), key=lambda path: (path.stat().st_size, path))
    for path in paths:
        for cut in read_manifest(path, "cuts"):
            if cut.id == name:
                return cut
    raise FileNotFoundError(f"{name}: no {_MANIFEST} under {data} has this utterance")


def flac(utterance: Utterance) -> bytes:
    """The audio as FLAC, 16 bits, which every current browser plays."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, utterance.samples, utterance.sampling_rate, format="FLAC", subtype="PCM_16"
    )
    return buffer.getvalue()


def word_rows(utterance: Utterance) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of word times, the figure's content as text.

    Words stand by their order in the reference; a lane of other words than the reference's is
    listed by its own.
    """
    sides: Mapping[str, Sequence[Span]] = {
        "reference": utterance.words,
        **{lane.title: lane.words for lane in utterance.lanes},
    }
    header = ["", *sides]
    longest = max(map(len, sides.values()))
    rows = [
        [str(place + 1), *(_time(words, place) for words in sides.values())]
        for place in range(longest)
    ]
    return header, rows


def _time(words: Sequence[Span], place: int) -> str:
    if place >= len(words):
        return "–"
    word = words[place]
    return f"{word.symbol} {word.start:.3f}–{word.end:.3f}"
