"""Many utterances: what one of them does, a second run, a killed one, and several processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from espnet_ottc.aligner import running, workers
from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.aligner.inputs import InputOptions, gather
from espnet_ottc.aligner.journal import Journal
from espnet_ottc.aligner.running import Outcome, RunOptions, run_all
from espnet_ottc.aligner.utterance import Failure, Utterance
from espnet_ottc.aligner.workers import AlignerSource
from espnet_ottc.alignment.aligned import AlignedUtterance
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameOutputs

RATE = 1000


class LoudModel:
    """Hears `A` where it is loud and the blank elsewhere; a file of one sample ends its process."""

    name, sampling_rate, stride, least_samples = "loud", RATE, 10, 10
    grid = FrameGrid(0.01)
    tokens = ("-", "|", "A", "B")
    token_type, topology = "char", "ctc"
    blank, separator, unknown, boundary, null = 0, 1, None, None, None
    boundary_model = None
    alphabet, romanize = Alphabet(frozenset("AB")), None
    pads, device = True, torch.device("cpu")

    def prepare(self, samples: Tensor) -> Tensor:
        return samples

    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        found = []
        for window in stretches:
            if float(window.max()) > 0.9:
                os.kill(os.getpid(), signal.SIGKILL)
            loud = window[: len(window) // 10 * 10].reshape(-1, 10).abs().amax(1) > 0.1
            logits = torch.zeros(len(loud), 4)
            logits[loud, 2] = 9.0
            logits[~loud, 0] = 9.0
            found.append(FrameOutputs(logits.log_softmax(1)))
        return found

    def encode(self, word: str) -> list[int]:
        return [self.tokens.index(letter) for letter in word]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        return "A"


class LoudSource(AlignerSource):
    """Makes it, in any process."""

    def make(self, device: str | None = None) -> Aligner:
        return Aligner(LoudModel(), self.options)  # type: ignore[arg-type]


class AbsentSource(AlignerSource):
    """Finds no model, in any process."""

    def make(self, device: str | None = None) -> Aligner:
        raise FileNotFoundError(f"there is no {self.model}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for n in range(4):
        samples = np.zeros(RATE)
        samples[200 + 100 * n : 300 + 100 * n] = 0.5
        soundfile.write(sounds / f"x{n}.wav", samples, RATE)
        (sounds / f"x{n}.txt").write_text("a\n")
    return sounds


def _run(folder: Path, out: Path | None, **options: object) -> Outcome:
    gathered = gather([str(folder)], InputOptions())
    chosen = RunOptions(out, ["json", "textgrid"], **options)  # type: ignore[arg-type]
    return run_all(gathered.utterances, gathered.failures, LoudSource("loud"), chosen)


def _run_utterances(
    utterances: Sequence[Utterance], out: Path, source: AlignerSource | None = None
) -> Outcome:
    chosen = RunOptions(out, ["json"], processes=1)
    return run_all(utterances, [], source or LoudSource("loud"), chosen)


def _starts(out: Path) -> dict[str, float]:
    found = {}
    for path in out.glob("*.json"):
        (utterance,) = json.loads(path.read_text())["utterances"]
        found[utterance["id"]] = utterance["words"][0]["start"]
    return found


def test_words_are_found_where_they_are(folder: Path, tmp_path: Path) -> None:
    outcome = _run(folder, tmp_path / "out")
    assert (outcome.done, outcome.words, outcome.failures) == (4, 4, [])
    expected = {f"x{n}": pytest.approx(0.2 + 0.1 * n, abs=0.011) for n in range(4)}
    assert _starts(tmp_path / "out") == expected
    lines = (tmp_path / "out" / "words.ctm").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["x0", "x1", "x2", "x3"]
    assert (tmp_path / "out" / "text").read_text() == "x0 a\nx1 a\nx2 a\nx3 a\n"


def test_what_fails_is_listed_and_the_others_are_done(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.wav").write_text("no sound")
    soundfile.write(folder / "short.wav", np.zeros(5), RATE)
    (folder / "x0.txt").write_text("A" * 200)
    outcome = _run(folder, tmp_path / "out")
    assert outcome.done == 3
    failed = [json.loads(x) for x in (tmp_path / "out" / "failed.jsonl").read_text().splitlines()]
    assert {one["id"] for one in failed} == {"bad", "short", "x0"}
    assert all(one["reason"] and "\n" not in one["reason"] for one in failed)
    (folder / "bad.wav").unlink()
    (folder / "short.wav").unlink()
    (folder / "x0.txt").write_text("a")
    assert _run(folder, tmp_path / "out").failures == []
    assert not (tmp_path / "out" / "failed.jsonl").exists()


def test_a_second_run_does_what_has_changed(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _run(folder, out).fresh == 4
    (out / "x1.TextGrid").unlink()
    again = _run(folder, out)
    assert (again.fresh, again.done) == (0, 4)
    assert (out / "x1.TextGrid").exists()
    (folder / "x2.txt").write_text("b")
    assert _run(folder, out).fresh == 1
    assert _run(folder, out, again=True).fresh == 4


def test_a_run_that_was_killed_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def interrupted(aligner: Aligner, one: Utterance, *others: object) -> object:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(one.id)
        return original(aligner, one, *others)

    original = Aligner._aligned
    monkeypatch.setattr(Aligner, "_aligned", interrupted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _run(folder, out)
    assert set(_starts(out)) == set(done)
    # A kill in the middle of a line.
    with (out / running.JOURNAL).open("ab") as file:
        file.write(b'{"key": "half')
    monkeypatch.setattr(Aligner, "_aligned", original)
    outcome = _run(folder, out)
    assert (outcome.fresh, outcome.done) == (2, 4)
    assert len(_starts(out)) == 4
    assert _run(folder, out).fresh == 0


def test_results_lie_beside_recordings_and_are_no_texts(folder: Path) -> None:
    (folder / "x0.txt").unlink()
    assert _run(folder, None).done == 4
    assert (folder / "x0.aligned.TextGrid").exists()
    assert {one.text for one in gather([str(folder)], InputOptions()).utterances} == {None, "a"}


def test_several_processes_find_the_same_and_one_that_dies_takes_none_with_it(
    folder: Path, tmp_path: Path
) -> None:
    soundfile.write(folder / "killer.wav", np.full(RATE, 0.99), RATE)
    outcome = _run(folder, tmp_path / "out", processes=2)
    assert outcome.done == 4
    (failure,) = outcome.failures
    assert failure == Failure("killer", workers._MEMORY, str(folder / "killer.wav"))
    (folder / "killer.wav").unlink()
    _run(folder, tmp_path / "alone", processes=1)
    assert _starts(tmp_path / "out") == _starts(tmp_path / "alone")


# Two processes at work on what never ends.
ENDLESS = """
import sys, time
from pathlib import Path
from espnet_ottc.aligner import workers

def _never(one, debug):
    (Path(sys.argv[1]) / f"{one}.begun").touch()
    time.sleep(600)

class Source:
    def make(self, device):
        return self

workers._work = _never
if __name__ == "__main__":
    list(workers._pooled(["a", "b"], Source(), ["cpu", "cpu"], False))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_however_a_run_ends_its_processes_end(tmp_path: Path, number: int) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    words = [sys.executable, tmp_path / "endless.py", tmp_path]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        end = time.monotonic() + 120
        while len(list(tmp_path.glob("*.begun"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(120) == -number
        # At the end of its output there is none left that could write to it.
        assert process.communicate(timeout=120) == (b"", None)


def test_a_journal_gives_back_what_it_was_given(folder: Path, tmp_path: Path) -> None:
    utterance = Aligner(LoudModel(), AlignerOptions(allow_gaps=True)).align(  # type: ignore[arg-type]
        folder / "x0.wav", "a  \u05e9 'b\""
    )
    assert isinstance(utterance, AlignedUtterance)
    Journal(tmp_path / "j").add("k", utterance)
    journal = Journal(tmp_path / "j")
    assert "k" in journal
    assert "other" not in journal
    assert journal.get("k") == utterance


def test_a_model_that_cannot_be_loaded_is_one_fault_and_no_killed_process(
    folder: Path, tmp_path: Path
) -> None:
    gathered = gather([str(folder)], InputOptions())
    options = RunOptions(tmp_path / "out", ["json"], processes=2)
    with pytest.raises(FileNotFoundError, match="there is no such model"):
        run_all(gathered.utterances, [], AbsentSource("such model"), options)


def test_a_process_that_dies_between_two_utterances_fails_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utterances = gather([str(folder)], InputOptions()).utterances

    class Pool:
        def __init__(self, *arguments: object, **named: object) -> None:
            self.count = 0

        def __enter__(self) -> "Pool":
            return self

        def __exit__(self, *fault: object) -> None:
            pass

        def submit(self, work: object, group: list[Utterance], debug: bool) -> Future[object]:
            self.count += 1
            if self.count > 2:
                raise BrokenProcessPool
            future: Future[object] = Future()
            if self.count == 1:
                future.set_result([Failure(group[0].id, "none")])
            return future

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    groups = [[one] for one in utterances]
    results = workers._pooled(groups, LoudSource("loud"), ["cpu", "cpu"], False)
    assert next(results).id == "x0"
    with pytest.raises(workers._KilledError) as killed:
        next(results)
    assert [one.id for one in killed.value.at_work] == ["x1"]


def test_results_have_the_ids_of_their_own_run(folder: Path, tmp_path: Path) -> None:
    (one, *_) = gather([str(folder)], InputOptions()).utterances
    twins = [one, replace(one, id="twin", speaker="ann")]
    _run_utterances(twins, tmp_path)
    named = [replace(one, id="other") for one in twins[:1]]
    for utterances in (twins, named, twins):
        _run_utterances(utterances, tmp_path)
        values = json.loads((tmp_path / "x0.json").read_text())["utterances"]
        found = [(value["id"], value["speaker"]) for value in values]
        assert found == [(one.id, one.speaker) for one in utterances]


def test_other_parameters_give_other_results(folder: Path, tmp_path: Path) -> None:
    utterances = gather([str(folder)], InputOptions()).utterances
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    source = LoudSource("loud", weights=weights)
    assert _run_utterances(utterances, tmp_path / "out", source).fresh == 4
    assert _run_utterances(utterances, tmp_path / "out", source).fresh == 0
    weights.write_bytes(b"three")
    assert _run_utterances(utterances, tmp_path / "out", source).fresh == 4


def test_a_name_that_no_file_can_have_is_told_and_the_others_are_written(
    folder: Path, tmp_path: Path
) -> None:
    utterances = gather([str(folder)], InputOptions()).utterances
    long = replace(utterances[0], recording=replace(utterances[0].recording, id="x" * 300))
    outcome = _run_utterances([long, *utterances[1:]], tmp_path)
    assert set(_starts(tmp_path)) == {"x1", "x2", "x3"}
    (failure,) = outcome.failures
    assert failure.id == "x0"
    assert "an id must fit into a file's name" in failure.reason
    # Known before it is aligned.
    assert outcome.done == 3


def test_a_name_is_as_long_as_a_file_system_allows(folder: Path, tmp_path: Path) -> None:
    x0, x1, *_ = gather([str(folder)], InputOptions()).utterances
    long = [
        replace(one, recording=replace(one.recording, id=name * (255 - len(".json"))))
        for one, name in ((x0, "x"), (x1, "y"))
    ]
    longer = replace(long[1], recording=replace(x1.recording, id=long[1].recording.id + "y"))
    assert _run_utterances(long, tmp_path / "a").failures == []
    assert len(_starts(tmp_path / "a")) == 2
    outcome = _run_utterances([long[0], longer], tmp_path / "b")
    (failure,) = outcome.failures
    assert failure.id == x1.id
    assert "255 bytes with .json, got 256" in failure.reason


def test_failures_of_files_whose_names_are_no_utf8_are_listed(folder: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.wav")).write_text("no sound")
    assert _run(folder, tmp_path).done == 4
    (line,) = (tmp_path / "failed.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["id"] == "\udcff"


def test_results_in_the_recordings_own_folder_are_no_texts_either(folder: Path) -> None:
    (folder / "x0.txt").unlink()
    for _ in range(2):
        gathered = gather([str(folder)], InputOptions())
        assert {one.text for one in gathered.utterances} == {None, "a"}
        chosen = RunOptions(folder, ["textgrid", "srt"], processes=1)
        run_all(gathered.utterances, [], LoudSource("loud"), chosen)
    assert (folder / "x0.aligned.TextGrid").exists()


def test_a_journal_gives_each_line_though_another_run_appends(folder: Path, tmp_path: Path) -> None:
    aligner = Aligner(LoudModel())  # type: ignore[arg-type]
    first, second = (aligner.align(folder / f"x{n}.wav", "a") for n in range(2))
    mine, others = Journal(tmp_path / "j"), Journal(tmp_path / "j")
    mine.add("first", first)
    others.add("second", second)
    mine.add("third", second)
    assert mine.get("first") == first
    assert mine.get("third") == others.get("second") == second
