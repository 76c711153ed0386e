"""Recordings in Lhotse Shar: aligned as they are read, with the results of their cuts."""

import functools
import http.server
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from test_running import LoudSource

from espnet_ottc.aligner.inputs import InputOptions, gather
from espnet_ottc.aligner.lhotse_cuts import heard
from espnet_ottc.aligner.running import Outcome, RunOptions, run_all
from espnet_ottc.alignment.formats.shar import shar_shards
from espnet_ottc.utils.extras import MissingExtraError

# Twice what the model takes.
RATE = 2000
COUNT = 10
# Lhotse leaves the files of shards open.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
TOGETHER = ("text", "words.ctm", "tokens.ctm")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Cuts of one long recording, `cuts.jsonl.gz`, and the same as Shar."""
    rng = np.random.default_rng(1)
    samples = rng.uniform(-0.01, 0.01, COUNT * RATE)
    for number in range(COUNT):
        first = number * RATE + 400 + 100 * number
        samples[first : first + 300] = 0.5
    soundfile.write(tmp_path / "long.wav", samples, RATE)
    recording = Recording.from_file(tmp_path / "long.wav")
    cuts = CutSet.from_cuts(
        MonoCut(
            *(f"cut-{number}", float(number), 1.0, 0),
            supervisions=[SupervisionSegment(f"cut-{number}", "long", 0.0, 1.0, text="a")],
            recording=recording,
        )
        for number in range(COUNT)
    )
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    (tmp_path / "shar").mkdir()
    cuts.to_shar(tmp_path / "shar", fields={"recording": "wav"}, shard_size=4)
    return tmp_path


def _run(given: Path | str, out: Path, processes: int = 1) -> Outcome:
    gathered = gather([str(given)], InputOptions())
    options = RunOptions(out, ["json"], processes=processes)
    return run_all(gathered.utterances, gathered.failures, LoudSource("loud"), options)


def _found(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in TOGETHER]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_stream_gives_what_its_cuts_give(data: Path, processes: int) -> None:
    assert _run(data / "cuts.jsonl.gz", data / "of_cuts").done == COUNT
    outcome = _run(data / "shar", data / "of_shar", processes)
    assert (outcome.done, outcome.failures) == (COUNT, [])
    assert _found(data / "of_shar") == _found(data / "of_cuts")
    assert len(_found(data / "of_shar")[1].splitlines()) == COUNT


def test_a_url_gives_what_its_folder_gives(data: Path) -> None:
    for module in ("fsspec", "smart_open", "aiohttp"):
        pytest.importorskip(module)
    _run(data / "shar", data / "of_shar")
    handler = functools.partial(_Quiet, directory=data / "shar")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _run(f"http://127.0.0.1:{server.server_address[1]}/", data / "of_url")
        server.shutdown()
    assert _found(data / "of_url") == _found(data / "of_shar")


def test_a_bucket_gives_what_its_folder_gives(data: Path, bucket: Callable[[Path], str]) -> None:
    _run(data / "shar", data / "of_shar")
    assert _run(bucket(data / "shar"), data / "of_bucket").done == COUNT
    assert _found(data / "of_bucket") == _found(data / "of_shar")


def test_a_bucket_without_what_reads_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("fsspec", "smart_open", "aiohttp"):
        pytest.importorskip(module)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"^s3://here needs the extra \[s3\]"):
        shar_shards("s3://here")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_a_damaged_shard_fails_alone_and_is_all_that_a_second_run_does(data: Path) -> None:
    audio = data / "shar" / "recording.000001.tar"
    whole = audio.read_bytes()
    audio.write_bytes(whole[: len(whole) // 2])
    first = _run(data / "shar", data / "out")
    lost = {failure.id for failure in first.failures}
    assert "cut-7" in lost
    assert lost < {"cut-4", "cut-5", "cut-6", "cut-7"}
    assert all("recording.000001.tar" in failure.reason for failure in first.failures)
    audio.write_bytes(whole)
    second = _run(data / "shar", data / "out")
    assert (second.done, second.failures) == (COUNT, [])
    # The shard's file is another now.
    assert second.fresh == 4
    assert _run(data / "shar", data / "out").fresh == 0
    _run(data / "cuts.jsonl.gz", data / "of_cuts")
    assert _found(data / "out") == _found(data / "of_cuts")


def test_sound_of_a_stream_can_be_kept_for_trainings(data: Path) -> None:
    gathered = gather([str(data / "shar"), str(data / "long.wav")], InputOptions())
    kept = list(heard(gathered.utterances))
    assert [one.id for one in kept] == [*(f"cut-{number}" for number in range(COUNT)), "long"]
    for one in kept[:COUNT]:
        assert one.recording.cut is not None
        assert one.recording.cut.load_audio().shape == (1, RATE)
