"""Kills a recipe again and again, at random moments of every stage, and compares what it has in the end.

    python tests/faults/kill_recipe.py --kills 100
    python tests/faults/kill_recipe.py --kills 20 --calm calm.json --seed 3    a piece of it

A tiny recipe runs once undisturbed.  Then it runs in other folders and is killed, by signals that end the
process and by those that it could catch, in one stage after the other and from its first second to its last;
each time it is started again, until it ends.  Then its results, texts, times and parameters must be the
same as undisturbed, and after each kill none of its processes may be left.  With `--cluster` the recipe
works on a cluster; what it gives must be the same as on this machine.
"""

import argparse
import collections
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipe"))

from tiny_recipe import HOURS, recipe_folder, run_command

from espnet_ottc.report.records import read_results

SIZES = (*HOURS, "--synthetic_test_hours", "0.006", "--eval_sets", "test-clean")
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
                yield (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
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
    patterns = ("data/*/text", "data/*/reference.ctm", "exp/*/seed1/decode_*/*/text")
    for pattern in (*patterns, "exp/*/seed1/align_*/*/*.ctm", "exp/*/seed1/frames/*/labels"):
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


def kill_in(
    recipe: Path, more: Sequence[str], stage: int, length: float, rng: random.Random
) -> tuple[bool, list[str], list[str]]:
    """Run the recipe, and kill it in a stage.

    Args:
        recipe: its folder.
        more: options.
        stage: in which; before the first, while it starts.
        length: seconds that the stage takes undisturbed.
        rng: of the moment and the signal.

    Returns:
        Whether it was killed, the processes that were left, and the output; it was not where it ended before.
    """
    running, reading = start(recipe, more)
    delay = rng.uniform(0.0, length)
    while stage not in running.began and running.process.poll() is None:
        time.sleep(0.05)
    until = time.monotonic() + delay
    while time.monotonic() < until and running.process.poll() is None:
        time.sleep(0.02)
    killed = running.process.poll() is None
    if killed:
        running.process.send_signal(rng.choice(SIGNALS))
    running.process.wait()
    waited = time.monotonic() + _LEFT_SECONDS
    while (left := left_over(running.mark)) and time.monotonic() < waited:
        time.sleep(0.1)
    reading.join(timeout=5)
    return killed, left, running.lines


def _undisturbed(folder: Path, kept: Path | None) -> tuple[dict[int, float], dict[str, object]]:
    """Seconds of each stage, and what a run on this machine gives."""
    if kept is not None and kept.exists():
        content = json.loads(kept.read_text())
        return {int(stage): seconds for stage, seconds in content["lengths"].items()}, content[
            "results"
        ]
    calm = recipe_folder(folder)
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
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the runs; default: a temporary one")
    parser.add_argument(
        "--calm", type=Path, help="file for what the undisturbed run gave; read if it is there"
    )
    parser.add_argument(
        "--cluster", type=Path, help="YAML of a cluster that works, see docs/howto/clusters.md"
    )
    options = parser.parse_args()
    more = [] if options.cluster is None else ["--cluster", str(options.cluster.resolve())]
    rng = random.Random(options.seed)
    faults: list[str] = []
    by_stage: collections.Counter[int] = collections.Counter()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        lengths, expected = _undisturbed(Path(folder) / "calm", options.calm)
        whole, stages = sum(lengths.values()), sorted(lengths)
        print(
            f"undisturbed: {whole:.0f} s, {len(stages)} stages, {len(expected)} results", flush=True
        )
        # Pieces with other seeds begin elsewhere.
        rng.shuffle(stages)
        rounds = 0
        while sum(by_stage.values()) < options.kills:
            rounds += 1
            recipe = recipe_folder(Path(folder) / f"round{rounds}")
            some = stages[: max(1, options.kills - sum(by_stage.values()))]
            for stage in sorted(some):
                killed, left, _ = kill_in(recipe, more, stage, lengths[stage], rng)
                by_stage[stage] += killed
                faults += [f"round {rounds}, stage {stage}: left {one}" for one in left]
                if sum(by_stage.values()) >= options.kills:
                    break
            last, reading = start(recipe, more)
            reading.join()
            if last.process.wait() != 0:
                faults.append(f"round {rounds}: it cannot go on: {''.join(last.lines[-5:])}")
                continue
            found = results(recipe)
            differ = [
                name
                for name in expected.keys() | found.keys()
                if expected.get(name) != found.get(name)
            ]
            faults += [f"round {rounds}: {name} differs" for name in sorted(differ)]
            print(
                f"round {rounds}: {sum(by_stage.values())} kills, {len(differ)} differences",
                flush=True,
            )
    print("kills by stage:", dict(sorted(by_stage.items())))
    print("\n".join(faults) or "no differences, nothing left")
    return int(bool(faults))


if __name__ == "__main__":
    # Run under nohup it would ignore what it sends to others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
