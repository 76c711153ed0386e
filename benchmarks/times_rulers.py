"""Rulers of times: what is learned from, what is aligned, and its true times."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.cuts import spoken_cut
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.units import Pronunciations
from espnet_ottc.alignment.formats import (
    read_ctm,
    read_manifest,
    read_textgrid,
    spans_of,
    text_tier,
)
from espnet_ottc.alignment.spans import Span

ROOT = Path(__file__).resolve().parents[1]
# Of the recipes: training set, sets to align.
_SYNTHETIC = {
    "sentences": ("librispeech", "train-clean-100", ("dev-clean", "test-clean")),
    "timit": ("timit", "TRAIN", ("DEV", "TEST")),
    "ami": ("ami", "train", ("dev", "test")),
}
_SPEAKERS = ("george", "jackson", "nicolas", "theo")
_FEW = 40
_AT_THE_END = 0.02  # seconds
Times = dict[str, list[Span]]


@dataclass(frozen=True)
class Ruler:
    """What systems are measured against.

    Attributes:
        train: to learn from.
        heard: by set what is aligned.
        references: by set the true times.
        inner: by set the inner references, where there are some.
        lexicon: pronunciations of the words; None where they are spelled by letters.
        given: by system that is only read, by set the times that it has.
        speaker: of an utterance by its name; None where speakers have too little to be adapted to.
    """

    train: Sequence[SpokenText]
    heard: dict[str, Sequence[SpokenText]]
    references: dict[str, Times]
    inner: dict[str, Times] = field(default_factory=dict)
    lexicon: Pronunciations | None = None
    given: dict[str, dict[str, Times]] = field(default_factory=dict)
    speaker: Callable[[str], str] | None = None


def digits(corpora: Path, left_out: str | None = None, few: bool = False) -> Ruler:
    """Sequences of spoken digits.

    Args:
        corpora: with `digits/`.
        left_out: a speaker who is not trained on, and alone is tested.
        few: train on 40 utterances.
    """
    parts = corpora / "digits" / "LibriSpeech"
    names = _speaker_ids(parts / "SPEAKERS.TXT")
    speaker = None if left_out is None else names[left_out]
    train = [u for u in _librispeech(parts / "train-clean-100") if _speaker(u.name) != speaker]
    if few:
        draw = torch.Generator().manual_seed(1)
        train = [
            train[i] for i in sorted(torch.randperm(len(train), generator=draw)[:_FEW].tolist())
        ]
    ruler = Ruler(train, {}, {}, speaker=_speaker)
    for name in ("dev-clean", "test-clean"):
        heard = [u for u in _librispeech(parts / name) if speaker in (None, _speaker(u.name))]
        kept = {u.name for u in heard}
        outer = {u: spans for u, spans in _clip_edges(parts / name).items() if u in kept}
        inner = read_ctm(corpora / "digits" / "trimmed" / f"{name}.ctm")
        ruler.heard[name], ruler.references[name] = heard, outer
        ruler.inner[name] = {u: list(inner[u]) for u in outer}
    return ruler


def sentences(corpora: Path, alone: bool = False) -> Ruler:
    """Read sentences; of silver times only the words on which both aligners agree.

    Args:
        corpora: with `libri_pieces/` and `emu_ae/`.
        alone: train on test-other itself.
    """
    folder = corpora / "libri_pieces"
    other = list(_librispeech(folder / "LibriSpeech" / "test-other"))
    silver = _table(folder / "silver_test-other.tsv")
    mfa = _table(folder / "mfa_test-other.tsv")
    of_mfa = {"test-other-mfa": mfa, "test-other-mfa-inside": ending_inside(other, mfa)}
    sets = {"test-other-silver": (other, silver)}
    sets |= {name: (other, times) for name, times in of_mfa.items()}
    if not alone:
        dev = list(_librispeech(folder / "LibriSpeech" / "dev-clean"))
        sets["dev-clean-silver"] = (dev, _table(folder / "silver_dev-clean.tsv"))
        sets["emu-hand"] = _emu(corpora / "emu_ae")
    train = other if alone else list(_librispeech(folder / "LibriSpeech" / "train-clean-100"))
    return Ruler(
        train,
        {name: [u for u in heard if u.name in times] for name, (heard, times) in sets.items()},
        {name: times for name, (_, times) in sets.items()},
        given={
            "silver": dict.fromkeys(of_mfa, _table(folder / "silver_test-other.tsv", disputed=True))
        },
    )


def of_recipe(data: Path, train: str, sets: Sequence[str], phones: bool = False) -> Ruler:
    """The cuts of a recipe.

    Args:
        data: its data folder.
        train: name of the training set.
        sets: names of those to align.
        phones: whether its words are phones.
    """
    cuts = {
        name: list(read_manifest(data / name / "cuts.jsonl.gz", "cuts")) for name in (train, *sets)
    }
    references = {}
    for name in sets:
        references[name] = {
            cut.id: list(spans_of(cut.supervisions[0], tier))
            for cut in cuts[name]
            if (tier := text_tier(cut.supervisions[0]))
        }
    texts = [spoken_cut(cut) for cut in cuts[train]]
    return Ruler(
        texts,
        {name: [spoken_cut(cut) for cut in cuts[name]] for name in sets},
        references,
        lexicon={word: ((word,),) for one in texts for word in one.words} if phones else None,
    )


def rulers(corpora: Path, own: Callable[[], Ruler]) -> Mapping[str, Callable[[], Ruler]]:
    """All rulers by name, each made when it is called.

    Args:
        corpora: with the folders of real speech.
        own: the ruler `recipe`.
    """
    synthetic = {
        f"synthetic_{name}": partial(
            of_recipe, ROOT / "egs2" / f"{corpus}_ottc" / "data", train, sets, name == "timit"
        )
        for name, (corpus, train, sets) in _SYNTHETIC.items()
    }
    return {
        "digits": partial(digits, corpora),
        "digits_40": partial(digits, corpora, few=True),
        **{f"digits_{name}": partial(digits, corpora, left_out=name) for name in _SPEAKERS},
        "sentences": partial(sentences, corpora),
        "sentences_alone": partial(sentences, corpora, alone=True),
        **synthetic,
        "recipe": own,
    }


def _librispeech(part: Path) -> Iterator[SpokenText]:
    for path in sorted(part.rglob("*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, *words = line.split()
            yield SpokenText(name, tuple(words), _reader(path.parent / f"{name}.flac"))


def _reader(path: Path) -> Callable[[], tuple[Tensor, int]]:
    def load() -> tuple[Tensor, int]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.mean(1)), rate

    return load


def _clip_edges(part: Path) -> Times:
    found: Times = {}
    for path in sorted(part.rglob("*.alignment.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, words, ends = (one.strip('"') for one in line.split(" ", 2))
            stops = [float(one) for one in ends.split(",")]
            spans = zip(words.split(","), [0.0, *stops], stops, strict=False)
            found[name] = [Span(word, start, end) for word, start, end in spans if word]
    return found


def _speaker(name: str) -> str:
    """Of an utterance of LibriSpeech."""
    return name.split("-")[0]


def _speaker_ids(path: Path) -> dict[str, str]:
    rows = [line.split("|") for line in path.read_text().splitlines() if not line.startswith(";")]
    return {row[-1].strip(): row[0].strip() for row in rows}


def ending_inside(heard: Sequence[SpokenText], times: Times) -> Times:
    """Without words that end with their recording: an aligner can have taken its last silence for speech."""
    found = {}
    for utterance in heard:
        samples, rate = utterance.load()
        last = len(samples) / rate - _AT_THE_END
        kept = [span for span in times.get(utterance.name, []) if span.end < last]
        if kept:
            found[utterance.name] = kept
    return found


def _table(path: Path, disputed: bool = False) -> Times:
    """Words with times by utterance, in order of time.

    Args:
        path: of the table.
        disputed: whether with words on which the aligners that made it disagree.
    """
    found: Times = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if disputed or row.get("agreed", "1") == "1":
                span = Span(row["word"], float(row["start"]), float(row["end"]))
                found.setdefault(row["utterance"], []).append(span)
    return {name: sorted(spans, key=lambda one: one.start) for name, spans in found.items()}


def _emu(folder: Path) -> tuple[list[SpokenText], Times]:
    heard, times = [], {}
    for path in sorted(folder.glob("*.TextGrid")):
        spans = [one for one in read_textgrid(path, "Text") if one.symbol.strip("* ")]
        words = tuple(one.symbol for one in spans)
        heard.append(SpokenText(path.stem, words, _reader(path.with_suffix(".wav"))))
        times[path.stem] = list(spans)
    return heard, times
