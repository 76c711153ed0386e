"""Kills a recipe again and again, at random moments of every stage, and compares what it has in the end.

    python tests/faults/kill_recipe.py --kills 100
    python tests/faults/kill_recipe.py --kills 20 --calm calm.json --seed 3    a piece of it

A tiny recipe runs once undisturbed.  Then it runs in other folders and is killed, by signals that end the
process and by those that it could catch, from its first second to its last; each time it is started again,
from the stage that was killed.  Each stage is killed as often as any other, in as many rounds as that takes.
In the end of a round it is started once more, whole, until it ends.  Then its results, texts, times and
parameters must be the same as undisturbed, and after each kill none of its processes may be left.  With
`--cluster` the recipe works on a cluster; what it gives must be the same as on this machine.  `--record`
appends a line of JSON for each round, of which `tools/fill_tables.py` makes the table of docs/reliability.md.
"""

import argparse
import hashlib
import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipe"))

from tiny_recipe import HOURS, aligned_recipe_folder, run_command

from espnet_ottc.report.records import read_results
from espnet_ottc.utils.provenance import provenance

SIZES = (*HOURS, "--synthetic_test_hours", "0.006", "--eval_sets", "test-clean", "--nj", "2")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STAGE = re.compile(r"== stage (\d+)")
# What differs from run to run by its nature.
_VOLATILE = ("train_seconds", "hardware", "commit", "dirty", "command")
_LEFT_SECONDS = 20.0


@dataclass
class Running:
    """A run of the recipe, and the moments at which its stages began.

    Attributes:
        process: of `run.sh`.
        mark: stands in the environment of all its processes.
        began: seconds since the start, by stage.
        lines: of its output.
    """

    process: "subprocess.Popen[str]"
    mark: str
    start: float
    began: dict[int, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def read(self) -> None:
        """Read the output to its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if found := _STAGE.search(line):
                self.began.setdefault(int(found[1]), time.monotonic() - self.start)


def start(recipe: Path, more: Sequence[str] = ()) -> tuple[Running, threading.Thread]:
    """Start the recipe in its folder.

    Args:
        recipe: its folder.
        more: options.
    """
    words, environment = run_command(*SIZES, *more)
    mark = f"ottc-faults-{uuid.uuid4()}"
    process = subprocess.Popen(
        words,
        cwd=recipe,
        env={**environment, "OTTC_FAULTS": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    running = Running(process, mark, time.monotonic())
    reading = threading.Thread(target=running.read, daemon=True)
    reading.start()
    return running, reading


def left_over(mark: str) -> list[str]:
    """The commands of processes that have this mark in their environment.

    Args:
        mark: of a run.
    """
    return list(_marked(mark.encode()))


def _marked(mark: bytes) -> Iterator[str]:
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                # Without folders, which differ from machine to machine.
                yield " ".join(Path(word).name if word.startswith("/") else word for word in words)
        except OSError:
            continue


def results(recipe: Path) -> dict[str, object]:
    """What has to be the same: rows, texts, times, and the parameters of the models.

    Args:
        recipe: its folder.
    """
    import torch

    found: dict[str, object] = {}
    for _, row in read_results(recipe / "exp" / "results.jsonl"):
        about = {k: v for k, v in row["provenance"].items() if k not in _VOLATILE}
        key = f"{row['system']} {row['decoder']} {row['set']}"
        found[key] = json.dumps({**row, "provenance": about}, sort_keys=True)
    patterns = ("data/*/text", "data/*/reference.ctm", "exp/*/seed1/ali/*/ali")
    patterns += ("exp/*/seed1/decode_*/*/text", "exp/*/seed1/align_*/*/*.ctm")
    for pattern in (*patterns, "exp/*/seed1/frames/*/labels"):
        for path in sorted(recipe.glob(pattern)):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(recipe))] = digest
    for path in sorted(recipe.glob("exp/*/seed1/valid.loss.ave*.pth")):
        state = torch.load(path, weights_only=True)
        digest = hashlib.sha256()
        for name, value in sorted(state.items()):
            digest.update(name.encode() + value.numpy().tobytes())
        found[str(path.relative_to(recipe))] = digest.hexdigest()
    return found


@dataclass(frozen=True)
class Kill:
    """A kill of a run, or none where the run ended by itself.

    Attributes:
        stage: that it ran; None before the first.
        signal: name; None where it did not end by it.
        left: commands of processes that were left.
        fault: the end of its output, where it failed by itself.
    """

    stage: int | None
    signal: str | None
    left: list[str]
    fault: str | None = None


def kill_in(
    recipe: Path, more: Sequence[str], stage: int, seconds: float, rng: random.Random
) -> Kill:
    """Run the recipe, and kill it at a random moment from the beginning of a stage on.

    What was done of the stage before is not done again: the run may end before the moment comes.

    Args:
        recipe: its folder.
        more: options.
        stage: in which.
        seconds: from its beginning, within which the moment lies.
        rng: of the moment and the signal.
    """
    running, reading = start(recipe, more)
    delay, number = rng.uniform(0.0, seconds), rng.choice(SIGNALS)
    while stage not in running.began and running.process.poll() is None:
        time.sleep(0.05)
    until = time.monotonic() + delay
    while time.monotonic() < until and running.process.poll() is None:
        time.sleep(0.02)
    sent = running.process.poll() is None
    at = max(running.began, default=None)
    if sent:
        running.process.send_signal(number)
    status = running.process.wait()
    # One that was through, or that does not mind the signal, is not killed.
    killed = sent and status in (-number, 128 + number)
    waited = time.monotonic() + _LEFT_SECONDS
    while (left := left_over(running.mark)) and time.monotonic() < waited:
        time.sleep(0.1)
    reading.join(timeout=5)
    failed = status != 0 and not killed
    end = "".join(running.lines[-5:]) if failed else None
    return Kill(at, number.name if killed else None, left, end)


@dataclass
class Round:
    """A run that was killed again and again, and what it had in the end.

    Attributes:
        kills: in their order.
        differences: from the undisturbed run.
        fault: the end of its output, where it could not go on.
    """

    kills: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    fault: str | None = None

    @property
    def faults(self) -> list[str]:
        """All that must not be."""
        left = [f"stage {kill.stage}: left {one}" for kill in self.kills for one in kill.left]
        left += [f"stage {kill.stage}: {kill.fault}" for kill in self.kills if kill.fault]
        stuck = [] if self.fault is None else [f"it cannot go on: {self.fault}"]
        return [*left, *stuck, *(f"{name} differs" for name in self.differences)]


def one_round(
    recipe: Path,
    more: Sequence[str],
    lengths: dict[int, float],
    wanted: Sequence[int],
    expected: Mapping[str, object],
    rng: random.Random,
) -> Round:
    """Kill a recipe in some stages, let it end, and compare.

    Args:
        recipe: its folder, new.
        more: options.
        lengths: seconds of each stage; made shorter for one that was through before it could be killed.
        wanted: stages to kill it in, in order; one may come several times.
        expected: what an undisturbed run gives.
        rng: of moments and signals.
    """
    found = Round()
    first = min(lengths)
    had: Counter[int] = Counter()
    for stage in wanted:
        if stage < first:
            continue  # it is through
        part = ["--stage", str(first), "--stop_stage", str(stage)]
        # Each time less of it may be left.
        seconds = lengths[stage] / (1 + had[stage])
        kill = kill_in(recipe, [*more, *part], stage, seconds, rng)
        print(f"  stage {kill.stage}: {kill.signal}", flush=True)
        if kill.signal is not None or kill.fault is not None:
            found.kills.append(kill)
            had[stage] += 1
        elif kill.stage == stage:
            if not had[stage]:
                lengths[stage] /= 2
            first = stage + 1
            continue
        first = first if kill.stage is None else kill.stage
    last, reading = start(recipe, more)
    reading.join()
    if last.process.wait() != 0:
        found.fault = "".join(last.lines[-5:])
        return found
    now = results(recipe)
    found.differences = sorted(
        name for name in expected.keys() | now.keys() if expected.get(name) != now.get(name)
    )
    return found


def _undisturbed(folder: Path, kept: Path | None) -> tuple[dict[int, float], dict[str, object]]:
    """Seconds of each stage, and what a run on this machine gives."""
    if kept is not None and kept.exists():
        content = json.loads(kept.read_text())
        return {int(stage): seconds for stage, seconds in content["lengths"].items()}, content[
            "results"
        ]
    calm = aligned_recipe_folder(folder)
    running, reading = start(calm)
    reading.join()
    if running.process.wait() != 0:
        sys.exit("".join(running.lines))
    stages = sorted(running.began)
    ends = [*(running.began[stage] for stage in stages[1:]), time.monotonic() - running.start]
    lengths = {stage: end - running.began[stage] for stage, end in zip(stages, ends, strict=True)}
    expected = results(calm)
    if kept is not None:
        kept.write_text(json.dumps({"lengths": lengths, "results": expected}))
    return lengths, expected


def main() -> int:
    """Kill as the command line says; the exit status is 1 where something was lost, changed or left."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=100,
        help="in all, as many of each stage (default: %(default)s)",
    )
    parser.add_argument(
        "--times", type=int, default=3, help="kills in each stage of a round (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the runs; default: a temporary one")
    parser.add_argument(
        "--calm", type=Path, help="file for what the undisturbed run gave; read if it is there"
    )
    parser.add_argument("--record", type=Path, help="file to append a line for each round to")
    parser.add_argument(
        "--cluster", type=Path, help="YAML of a cluster that works, see docs/howto/clusters.md"
    )
    options = parser.parse_args()
    rng = random.Random(options.seed)
    faults = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        more, where = [], "this machine"
        if options.cluster is not None:
            more = ["--cluster", str(options.cluster.resolve())]
            where = yaml.safe_load(options.cluster.read_text())["cluster"]
        lengths, expected = _undisturbed(Path(folder) / "calm", options.calm)
        whole, stages = sum(lengths.values()), sorted(lengths)
        print(
            f"undisturbed: {whole:.0f} s, {len(stages)} stages, {len(expected)} results", flush=True
        )
        share = -(-options.kills // len(stages))
        had: Counter[int | None] = Counter()
        for number in itertools.count(1):
            wanted = [
                stage for stage in stages for _ in range(min(options.times, share - had[stage]))
            ]
            recipe = aligned_recipe_folder(Path(folder) / f"round{number}")
            found = one_round(recipe, more, lengths, wanted, expected, rng)
            shutil.rmtree(Path(folder) / f"round{number}")
            had.update(kill.stage for kill in found.kills)
            total = had.total()
            faults += len(found.faults)
            print(
                f"round {number}: {total} kills, {len(found.differences)} differences", flush=True
            )
            print("\n".join(found.faults), end="\n" * bool(found.faults), flush=True)
            if options.record is not None:
                _append(options.record, {"seed": options.seed, "where": where, **asdict(found)})
            if all(had[stage] >= share for stage in stages):
                break
    print(f"{faults} faults" if faults else "no differences, nothing left")
    return int(bool(faults))


def _append(path: Path, about: Mapping[str, object]) -> None:
    line = {**provenance(), **about}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, sort_keys=True) + "\n")


if __name__ == "__main__":
    # Started by nohup or behind another command it ignores these, and so would all that it starts.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_DFL)
    sys.exit(main())
