"""Time and memory of the scorers and of the report on many utterances, beside an earlier commit.

    python benchmarks/bench_scorers.py --before COMMIT [--markdown docs/benchmarks_scorers.md]

Makes its own inputs: texts of random words and their times, and a hypothesis with one word in twenty wrong
and all times a little off.  Each command runs as a user runs it, in a process of its own, and the earlier
commit in a worktree of its own.  The scores must be the same, to the last digit; their intervals need not.
"""

import argparse
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from common import environment, provenance_lines, write

ROOT = Path(__file__).resolve().parents[1]
WORDS_A_UTTERANCE = (4, 30)
VOCABULARY = 20_000
WRONG = 0.05
SCORES = ("times.json", "words.json")
Words = list[tuple[float, float, str]]


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock and of processors, and the most MB of all processes together."""

    wall: float
    processors: float
    memory: float


def main() -> int:
    """Make inputs, measure both states, compare their scores, write the table."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        data = Path(folder)
        make_inputs(data, options.utterances, options.seed)
        rows = []
        for name, command in commands(data).items():
            costs = [
                _measured(tree, data / side, command)
                for side, tree in _states(data, options.before).items()
            ]
            rows.append((name, costs))
            print(name, *costs, flush=True)
        for name in SCORES if options.before else ():
            _check_same(data / "before" / name, data / "now" / name)
        _states_end(data)
    text = _document(rows, options)
    print(text)
    if options.markdown is not None:
        write(options.markdown, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--before", metavar="COMMIT", help="an earlier state to measure beside")
    parser.add_argument("--utterances", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the inputs, a gigabyte; default: /tmp")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    parser.set_defaults(device="cpu", dtype="float64", rounds=1)
    return parser


def make_inputs(data: Path, utterances: int, seed: int) -> None:
    """Write texts, CTMs, a manifest of cuts and results of a system, all of the same utterances.

    Args:
        data: an empty folder.
        utterances: how many.
        seed: of all that is random.
    """
    rng = random.Random(seed)
    vocabulary = [_word(rng) for _ in range(VOCABULARY)]
    paths = _layout(data)
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, 16000 * 30)
    soundfile.write(data / "sound.flac", noise, 16000)
    (data / "exp" / "results.jsonl").write_text(_results())
    names = ("ref.ctm", "hyp.ctm", "ref.txt", "hyp.txt")
    files = {name: paths[name].open("w", encoding="utf-8") for name in names}
    with gzip.open(paths["cuts"], "wt", compresslevel=1, encoding="utf-8") as cuts:
        for number in range(utterances):
            name = f"speaker{number % 997:04d}-{number:07d}"
            words = _words(rng, vocabulary)
            guesses = sorted(_recognised(rng, words, vocabulary))
            for side, items in (("ref", words), ("hyp", guesses)):
                files[f"{side}.txt"].write(" ".join([name, *(w for _, _, w in items)]) + "\n")
                files[f"{side}.ctm"].writelines(
                    f"{name} 1 {start:.6f} {length:.6f} {word}\n" for start, length, word in items
                )
            cuts.write(json.dumps(_cut(data, name, words)) + "\n")
    for file in files.values():
        file.close()


def commands(data: Path) -> Mapping[str, Sequence[object]]:
    """What is measured: a title, and a module with its options; outputs go to the working folder."""
    paths = _layout(data)
    exp = data / "exp"
    return {
        "ottc-score-times": (
            *("score_alignment", "--ref", paths["ref.ctm"], "--hyp", paths["hyp.ctm"]),
            *("--json", SCORES[0]),
        ),
        "ottc-score-words": (
            *("score_words", "--ref", paths["ref.txt"], "--hyp", paths["hyp.txt"]),
            *("--json", SCORES[1]),
        ),
        "ottc-report": (
            *("report", "--results", exp / "results.jsonl", "--expdir", exp),
            *("--data", data / "sets", "--html", "report.html"),
        ),
    }


def _layout(data: Path) -> dict[str, Path]:
    return {
        "ref.ctm": data / "ref.ctm",
        # Where the report looks for the times of a system.
        "hyp.ctm": data / "exp" / "ottc" / "seed1" / "align_viterbi" / "test" / "words.ctm",
        "ref.txt": data / "ref.txt",
        "hyp.txt": data / "hyp.txt",
        "cuts": data / "sets" / "test" / "cuts.jsonl.gz",
    }


def _word(rng: random.Random) -> str:
    return "".join(rng.choices("ETAOINSHRDLUCMFW", k=rng.randint(2, 9)))


def _words(rng: random.Random, vocabulary: Sequence[str]) -> Words:
    now, words = rng.uniform(0.1, 0.5), []
    for _ in range(rng.randint(*WORDS_A_UTTERANCE)):
        length = rng.uniform(0.1, 0.6)
        # Short ranks are frequent, as in a language.
        words.append((now, length, vocabulary[int(VOCABULARY * rng.random() ** 3)]))
        now += length + (rng.random() < 0.2) * rng.uniform(0.05, 0.3)
    return words


def _recognised(
    rng: random.Random, words: Words, vocabulary: Sequence[str]
) -> Iterator[tuple[float, float, str]]:
    for start, length, word in words:
        moved = max(start + rng.gauss(0, 0.02), 0.0), max(length + rng.gauss(0, 0.02), 0.01)
        if rng.random() >= WRONG:
            yield (*moved, word)
        elif rng.random() < 0.7:
            yield (*moved, rng.choice(vocabulary))
        elif rng.random() < 0.5:
            yield (moved[0], moved[1] / 2, word)
            yield (moved[0] + moved[1] / 2, moved[1] / 2, rng.choice(vocabulary))


def _cut(data: Path, name: str, words: Words) -> dict[str, Any]:
    duration = round(words[-1][0] + words[-1][1] + 0.2, 4)
    alignment = [[word, round(start, 4), round(length, 4), None] for start, length, word in words]
    supervision = {
        **{"id": name, "recording_id": name, "start": 0.0, "duration": duration, "channel": 0},
        **{"text": " ".join(word for _, _, word in words), "alignment": {"word": alignment}},
    }
    source = {"type": "file", "channels": [0], "source": str(data / "sound.flac")}
    recording = {
        **{"id": name, "sources": [source], "sampling_rate": 16000, "num_samples": 480000},
        **{"duration": 30.0, "channel_ids": [0]},
    }
    return {
        **{"id": name, "start": 0.0, "duration": duration, "channel": 0, "type": "MonoCut"},
        **{"supervisions": [supervision], "recording": recording},
    }


def _results() -> str:
    training = {"record": "training", "system": "ottc", "seed": 1, "provenance": {}}
    score = {
        **{"record": "score", "system": "ottc", "seed": 1, "decoder": "viterbi", "set": "test"},
        **{"wer": 5.0, "boundary_mae_ms": 20.0},
    }
    return f"{json.dumps(training)}\n{json.dumps(score)}\n"


def _states(data: Path, before: str | None) -> dict[str, Path]:
    """The trees to measure by name; an earlier one is checked out where it is not yet."""
    states = {}
    if before:
        states["before"] = data / "tree"
        if not states["before"].exists():
            _git("worktree", "add", "--quiet", "--detach", str(states["before"]), before)
    return {**states, "now": ROOT}


def _states_end(data: Path) -> None:
    if (data / "tree").exists():
        _git("worktree", "remove", "--force", str(data / "tree"))


def _git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True)


def _measured(tree: Path, folder: Path, command: Sequence[object]) -> Cost:
    folder.mkdir(exist_ok=True)
    module, *arguments = map(str, command)
    before = os.times()
    began = time.perf_counter()
    with (folder / f"{module}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"espnet_ottc.bin.{module}", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_proportional, _family(process.pid))))
            time.sleep(0.1)
    if process.returncode != 0:
        raise SystemExit((folder / f"{module}.log").read_text())
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return Cost(time.perf_counter() - began, used, peak / 1000)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _proportional(pid: int) -> int:
    """kB of a process; what several share is counted in parts."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _check_same(before: Path, now: Path) -> None:
    one, other = (json.loads(path.read_text()) for path in (before, now))
    # Bootstrap intervals may come of other random numbers.
    differ = [
        name
        for name in one.keys() | other.keys()
        if not name.endswith(("interval", "intervals")) and one.get(name) != other.get(name)
    ]
    if differ:
        raise SystemExit(f"{now.name} differs in {', '.join(differ)}")


def _document(rows: Sequence[tuple[str, Sequence[Cost]]], options: argparse.Namespace) -> str:
    about = environment(options, ("numpy", "kaldialign", "lhotse"))
    states = ["before", "now"] if options.before else ["now"]
    columns = [f"{what} {one}" for what in ("s", "processor s", "MB") for one in states]
    busy = os.getloadavg()[1]
    lines = [
        "# Scorers and report on many utterances",
        "",
        f"{options.utterances:,} utterances of {sum(WORDS_A_UTTERANCE) / 2:g} words in the mean, one word in "
        "twenty wrong. Each command runs in processes of its own. Memory is the most of all its processes "
        "together. Processor seconds are those of all processes and threads.",
        "",
        *provenance_lines(about, "one run of each"),
        f"* load of the machine at the end, all programs together: {busy:.1f} processes",
        *(
            [
                f"* before: commit {options.before}; the same scores in all digits, but for their intervals"
            ]
            * bool(options.before)
        ),
        "",
        f"| command | {' | '.join(columns)} |",
        f"| :-- |{' --: |' * len(columns)}",
    ]
    for name, costs in rows:
        cells = [f"{one.wall:.1f}" for one in costs]
        cells += [f"{one.processors:.1f}" for one in costs]
        cells += [f"{one.memory:.0f}" for one in costs]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
