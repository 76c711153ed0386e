"""Score words and times of everything that was decoded and aligned (stage 10).

Writes `score.json` and `score.txt` beside each hypothesis, and from the score files alone
`EXPDIR/results.jsonl`.  Scores against a forced alignment (`--reference forced`) have `_by_<ali_system>` in
these names.
"""

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from espnet_ottc.alignment.formats import read_manifest, spans_of, text_tier, write_ctm_lines
from espnet_ottc.alignment.scoring import ScoringOptions
from espnet_ottc.alignment.scoring.jobs import ScoringJob
from espnet_ottc.alignment.scoring.part_files import read_part
from espnet_ottc.alignment.scoring.parts import UTTERANCES
from espnet_ottc.alignment.scoring.time_counts import CountedTimes
from espnet_ottc.alignment.scoring.word_counts import CountedWords
from espnet_ottc.alignment.spans import Span
from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.marks import Step, StepError, perform
from espnet_ottc.recipe.other_tools import OTHER_DECODER, OTHER_SEED, other_tools, take_times
from espnet_ottc.recipe.paths import score_file
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.results import collect_rows
from espnet_ottc.recipe.shards import Shard, does_itself, remove_parts, run_shards, shards
from espnet_ottc.recipe.systems import System
from espnet_ottc.recipe.units import FOLDER
from espnet_ottc.report.records import results_text
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import write_json, written_aside

# What is no letter in any corpus: CTC's blank, and the word separators of characters and of SentencePiece.
SPECIAL = ("<blank>", "<space>", "▁")


def score(recipe: Recipe) -> None:
    """Stage 10."""
    timed = set(recipe.sets.evaluated)
    if recipe.paths.reference_system is None:
        timed = {name for name in timed if _write_reference(recipe, name)}
    work = [_Scoring(recipe, name) for name in recipe.sets.evaluated]
    for system in recipe.models:
        for seed in recipe.seeds:
            for one in work:
                for decoder in () if system.times_only else recipe.decoders:
                    one.words(system, seed, decoder)
                # Nothing is scored against itself.
                if one.set_name in timed and system.name != recipe.paths.reference_system:
                    for aligner in recipe.time_decoders(system, seed):
                        one.times(system, seed, aligner)
    for tool, one in itertools.product(other_tools(recipe), work):
        if one.set_name in timed and take_times(recipe, tool, one.set_name):
            one.times(tool, OTHER_SEED, OTHER_DECODER)
    jobs.run_parallel(lambda later: later(), [later for one in work for later in one.later])
    rows = collect_rows(
        recipe.paths.expdir, next(iter(recipe.decoders)), recipe.paths.reference_system
    )
    path = recipe.paths.results
    text = results_text(rows)
    # Left alone where nothing changed, so that the report need not be made again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with written_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")
    say(f"stage 10: {len(rows)} rows in {path}")


def _write_reference(recipe: Recipe, set_name: str) -> bool:
    """Write the times that came with a set's words, or phones, as a CTM; whether it has any."""
    cuts, out = recipe.paths.cuts(set_name), recipe.paths.annotation(set_name)
    step = Step(
        title=f"stage 10: reference times of {set_name}",
        mark=recipe.paths.data_mark(f"reference_{set_name}"),
        options={},
        inputs=(cuts,),
        outputs=(out,),
        after={recipe.paths.cuts_mark(set_name): "stage 2 (cuts)"},
    )

    def work(_: bool) -> None:
        timed, count = write_reference_times(cuts, out)
        if timed < count:
            say(
                f"  {count - timed} of {count} utterances of {set_name} have no word "
                "times: they take no part in the scores of times"
            )

    perform(step, work, say)
    return out.stat().st_size > 0


def write_reference_times(cuts: Path, out: Path) -> tuple[int, int]:
    """Write the times that cuts have of their words, or phones, as a CTM; no cut is held.

    Args:
        cuts: manifest of a set.
        out: the CTM.

    Returns:
        How many cuts have times, and how many there are.
    """
    count = timed = 0

    def entries() -> Iterator[tuple[str, str, list[Span]]]:
        nonlocal count, timed
        for cut in read_manifest(cuts, "cuts"):
            count += 1
            supervision = cut.supervisions[0]
            if tier := text_tier(supervision):
                timed += 1
                yield cut.id, "1", spans_of(supervision, tier)

    write_ctm_lines(out, entries())
    return timed, count


class _Scoring:
    """The scores of one set, by everybody.

    Args:
        recipe: the run.
        set_name: the set.

    Attributes:
        later: what a worker does, still to be called; a small set is scored at once.
    """

    def __init__(self, recipe: Recipe, set_name: str) -> None:
        self.recipe, self.set_name = recipe, set_name
        self.later: list[Callable[[], None]] = []
        # A process of its own takes longer to start.
        self.count = _lines(recipe.paths.text(set_name))
        self.here = does_itself(recipe, self.count)

    def words(self, system: System, seed: int, decoder: str) -> None:
        """Score what a system recognised."""
        paths = self.recipe.paths
        out = paths.decoded(system.name, seed, decoder, self.set_name)
        job = ScoringJob(
            title=f"words of {self.set_name} by {system.name}, seed {seed}, {decoder}",
            times=False,
            reference=paths.text(self.set_name),
            hypothesis=paths.hypotheses(system.name, seed, decoder, self.set_name),
            out=out / score_file(None),
            folding=self.recipe.corpus.folding_path,
        )
        decoded = paths.decode_mark(system.name, seed, decoder, self.set_name)
        folder = paths.shards(system.name, seed, f"score_words_{decoder}_{self.set_name}")
        after = {decoded: "stage 8 (decoding)"}
        self._do(job, folder, paths.score_mark(system.name, seed, out, ""), after)

    def times(self, system: System | str, seed: int, aligner: str) -> None:
        """Score what a system found, or another tool of this name."""
        recipe, paths, set_name = self.recipe, self.recipe.paths, self.set_name
        name = system if isinstance(system, str) else system.name
        out = paths.aligned(name, seed, aligner, set_name)
        source = paths.reference_system
        after = {paths.align_mark(name, seed, set_name): "stage 9 (alignment)"}
        if source is not None:
            mark = paths.align_mark(source, seed, set_name)
            after[mark] = f"the alignment by {source}, the reference (stage 9)"
        files = {}
        if (inner := _inner_reference(recipe, set_name)) is not None:
            files["inner"] = inner
        if isinstance(system, System) and not system.times_only:
            files["frames"] = paths.frame_labels(name, seed, set_name)
            files["durations"] = paths.durations(name, seed, set_name)
        job = ScoringJob(
            title=f"times of {set_name} by {name}, seed {seed}, {aligner}",
            times=True,
            reference=paths.reference(set_name, seed),
            hypothesis=paths.word_times(name, seed, aligner, set_name),
            out=out / score_file(source),
            folding=recipe.corpus.folding_path,
            files=files,
            settings={
                # No line for an utterance that could not be aligned; no reference for some, perhaps.
                "missing_is_empty": True,
                "ignore_extra": True,
                "special": (*SPECIAL, *recipe.corpus.silences),
            },
        )
        folder = paths.shards(name, seed, f"score_times{paths.suffix}_{aligner}_{set_name}")
        self._do(job, folder, paths.score_mark(name, seed, out, paths.suffix), after)

    def _do(self, job: ScoringJob, folder: Path, mark: Path, after: Mapping[Path, str]) -> None:
        step = Step(
            title=f"stage 10: {job.title}",
            mark=mark,
            options={"scoring": job.options.as_json()},
            inputs=job.inputs,
            outputs=(job.out, job.out.with_suffix(".txt")),
            after=after,
            resumable=True,
        )

        def work(resumed: bool) -> None:
            try:
                if self.here:
                    job.run()
                else:
                    _InShards(self.recipe, job, folder, self.count).run(resumed)
            except ValueError as fault:
                raise StepError(str(fault)) from fault

        def do() -> None:
            perform(step, work, say)

        if self.here:
            do()
        else:
            self.later.append(do)


@dataclass(frozen=True)
class _InShards:
    """A set that workers score in shards of utterances.

    Attributes:
        recipe: the run.
        job: what to score.
        folder: for the shards, and nothing else.
        count: utterances of the set.
    """

    recipe: Recipe
    job: ScoringJob
    folder: Path
    count: int

    def run(self, resumed: bool) -> None:
        """Score, and write what the job writes.

        Args:
            resumed: whether shards that are there were made of the same inputs.
        """
        if not self.job.parts(1):
            self.job.run()  # of a kind of file that is read as a whole
            return
        first = self.job.options

        def counted(options: ScoringOptions) -> Iterator[CountedWords | CountedTimes | None]:
            if tuple(options.skip) == tuple(first.skip):
                yield from self._counted(self.job, self.folder, resumed)
            else:
                # What does not count is known by the words of the whole set.
                settings = {**self.job.settings, "skip": list(options.skip)}
                job = replace(self.job, settings=settings)
                yield from self._counted(job, self.folder / "again", resumed)

        self.job.run(counted)
        remove_parts(self.folder)

    def _counted(
        self, job: ScoringJob, folder: Path, resumed: bool
    ) -> Iterator[CountedWords | CountedTimes | None]:
        wanted = shards(self.recipe, self.count, folder, least=UTTERANCES)
        size = wanted[0].stop if wanted else 1
        # Each worker holds so many utterances at a time, too.
        each = -(-size // UTTERANCES)
        if not resumed:
            shutil.rmtree(folder, ignore_errors=True)
        about = folder / "job.json"
        write_json(about, job.as_json())

        def score_shard(shard: Shard) -> None:
            first = wanted.index(shard) * each
            command = [sys.executable, "-m", "espnet_ottc.bin.score_set", "--job", str(about)]
            command += ["--parts", str(len(wanted) * each), "--out", FOLDER]
            command += ["--first", str(first), "--stop", str(first + each)]
            key = f"{job.title}, {shard.folder.name}"
            jobs.run_logged(command, shard.log, key=key, folder=shard.folder)

        run_shards(wanted, folder, score_shard, resumed=True)
        for shard in wanted:
            for path in sorted(shard.folder.iterdir()):
                yield read_part(path, times=job.times)


def _lines(path: Path) -> int:
    """None where there is no file: whoever needs it says so."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _inner_reference(recipe: Recipe, set_name: str) -> Path | None:
    """The second reference of a set, inside of the corpus's own."""
    folder: Path | None = recipe.options.inner_times
    path = None if folder is None else folder / f"{set_name}.ctm"
    return path if path is not None and path.is_file() else None
