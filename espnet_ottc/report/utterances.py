"""A few utterances to look at and listen to: audio, reference words, and what each system says."""

import io
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import soundfile
from lhotse.cut import Cut
from numpy.typing import NDArray

from espnet_ottc.alignment.cut_sound import cut_sound
from espnet_ottc.alignment.formats import (
    ctm_ids,
    item_of,
    read_ctm,
    read_manifest,
    spans_of,
    text_tier,
)
from espnet_ottc.alignment.formats.manifests import fields_of, manifest_lines, object_of
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
    """The CTM files of one system, decoder and seed on one set.

    Attributes:
        system, decoder: names.
        seed: of the training.
        words: the file of its words.
        tokens: that of its tokens; None where none were written.
        ids: the utterances that have words.
    """

    system: str
    decoder: str
    seed: int
    words: Path
    tokens: Path | None
    ids: frozenset[str]

    def lanes(self, names: Collection[str]) -> dict[str, Lane]:
        """The times of some utterances by their ids, without times where the files have none.

        Args:
            names: ids.

        Raises:
            ValueError: a malformed file.
            OSError: a file cannot be read.
        """
        words = read_ctm(self.words, only=names)
        tokens = read_ctm(self.tokens, only=names) if self.tokens is not None else {}
        about = (self.system, self.decoder, self.seed)
        return {
            name: Lane(*about, tuple(words.get(name, ())), tuple(tokens.get(name, ())))
            for name in names
        }


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
        ValueError: bytes that are no text.
    """
    seed = group.seeds[0]
    folder = expdir / group.system / f"seed{seed}" / f"align_{group.decoder}" / group.set
    words, tokens = folder / "words.ctm", folder / "tokens.ctm"
    return SystemTimes(
        group.system,
        group.decoder,
        seed,
        words,
        tokens if tokens.exists() else None,
        frozenset(ctm_ids(words)),
    )


def choose_cuts(path: Path, count: int, times: Sequence[SystemTimes]) -> list[Cut]:
    """Utterances by rule, not by hand: evenly spaced in the set's order.

    Those that last at most 10 s, have word times and are in every system's files come before
    others.

    Raises:
        FileNotFoundError: no such manifest.
        ValueError: a malformed one.
    """
    ranked = array("q")
    for name, duration, timed in _looks(path):
        known = sum(name in system.ids for system in times)
        ranked.append((duration > READABLE_SECONDS) + (not timed) + len(times) - known)
    if not ranked:
        return []
    best = min(ranked)
    places = [place for place, faults in enumerate(ranked) if faults == best]
    step = max(len(places) / count, 1.0)
    chosen = {places[int(step * (turn + 0.5))] for turn in range(min(count, len(places)))}
    return list(_cuts_at(path, chosen))


def _cuts_at(path: Path, places: Collection[int]) -> Iterator[Cut]:
    """The cuts at these places of a manifest, counted from 0."""
    if not _has_lines(path):
        cuts = enumerate(read_manifest(path, "cuts"))
        yield from (cut for place, cut in cuts if place in places)
        return
    last = max(places, default=-1)
    for place, (number, line) in zip(range(last + 1), manifest_lines(path), strict=False):
        if place in places:
            where = f"{path}, line {number}"
            yield item_of(object_of(line, where), where)


def _has_lines(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz"))


def _looks(path: Path) -> Iterator[tuple[str, float, bool]]:
    """Id, duration and whether it has times, of each cut.

    An object of Lhotse's is made of no cut of one recording, for it takes ten times as long.
    """
    if not _has_lines(path):
        for cut in read_manifest(path, "cuts"):
            yield cut.id, cut.duration, _is_timed(cut, str(path))
        return
    find = fields_of(_Look)
    for number, line in manifest_lines(path):
        found = find(line)
        timed = None if found is None else found.timed
        if found is None or timed is None:
            place = f"{path}, line {number}"
            cut = item_of(object_of(line, place), place)
            yield cut.id, cut.duration, _is_timed(cut, place)
        else:
            yield found.id, found.duration, timed


def _is_timed(cut: Cut, place: str) -> bool:
    try:
        return bool(reference_words(cut))
    except ValueError as fault:
        raise ValueError(f"{place}: {fault}") from fault


class _Supervision(msgspec.Struct):
    alignment: dict[str, list[list[Any]]] | None = None


class _Look(msgspec.Struct):
    """What is looked at of a cut of one recording."""

    id: str
    duration: int | float
    supervisions: list[_Supervision]
    type: Literal["MonoCut"]

    @property
    def timed(self) -> bool | None:
        """Whether it has times; None where they are not as usual."""
        timed = False
        for supervision in self.supervisions:
            tiers = supervision.alignment or {}
            # As `text_tier` chooses; items without a symbol are silence.
            items = tiers.get("phone", tiers.get("word", []))
            if not all(items):
                return None
            timed = timed or any(one[0] for one in items)
        return timed


def load_utterance(cut: Cut, lanes: Sequence[Lane]) -> Utterance:
    """Read a cut's audio (channels averaged), and gather its times.

    Args:
        cut: with its reference.
        lanes: the systems' times of it.

    Raises:
        OSError, ValueError: audio that cannot be read; it names the cut.
    """
    audio = cut_sound(cut)
    return Utterance(
        id=cut.id,
        text=" ".join(supervision.text or "" for supervision in cut.supervisions),
        duration=cut.duration,
        words=reference_words(cut),
        samples=audio.mean(0).astype(np.float32),
        sampling_rate=cut.sampling_rate,
        lanes=tuple(lanes),
    )


def find_cut(data: Path, name: str) -> Cut:
    """The cut of this id in any set; small sets are searched first.

    Raises:
        FileNotFoundError: no set has it.
    """
    paths = sorted(data.glob(f"*/{_MANIFEST}"), key=lambda path: (path.stat().st_size, path))
    for path in paths:
        for cut in read_manifest(path, "cuts", only=(name,)):
            found: Cut = cut
            return found
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
