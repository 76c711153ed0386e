"""The data type `lhotse`."""

import copy
import gzip
import json
import os
import pickle
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from espnet_lab import Tones
from lhotse import CutSet
from torch.utils.data import DataLoader

from espnet_ottc.espnet import data
from espnet_ottc.espnet.data import CutAudio, cut_index


def _edit(source: Path, target: Path, change) -> Path:
    with gzip.open(source, "rt") as file:
        items = [json.loads(line) for line in file]
    with gzip.open(target, "wt") as file:
        file.writelines(json.dumps(item) + "\n" for item in change(items))
    return target


def test_samples_are_those_of_the_recording_at_the_cuts_offset(train_tones):
    audio = CutAudio(train_tones.cuts)
    whole, _ = soundfile.read(train_tones.directory / "audio.flac", dtype="float32")
    for cut in list(CutSet.from_file(train_tones.cuts))[::7]:
        first = round(cut.start * cut.sampling_rate)
        expected = whole[first : first + cut.num_samples]
        samples = audio[cut.id]
        assert samples.dtype == np.float32
        np.testing.assert_array_equal(samples, expected)


def test_ids_come_in_the_manifests_order(train_tones):
    audio = CutAudio(train_tones.cuts)
    assert list(audio) == list(train_tones.texts)
    assert len(audio) == len(train_tones.texts)
    assert "utt1-00" in audio
    assert "nobody" not in audio


def test_an_unknown_id_is_named_with_its_manifest(train_tones):
    with pytest.raises(KeyError, match=r"nobody: no cut has this id in .*cuts\.jsonl\.gz"):
        CutAudio(train_tones.cuts)["nobody"]


def test_texts_and_alignments_stay_out_of_the_index(train_tones):
    assert CutAudio(train_tones.cuts).cut("utt1-00").supervisions == []


def test_a_pickled_reader_is_small_and_reads(train_tones):
    audio = CutAudio(train_tones.cuts)
    samples = audio["utt1-03"]
    data = pickle.dumps(audio)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data)["utt1-03"], samples)


def test_forked_workers_read_what_the_parent_reads(train_tones):
    audio = CutAudio(train_tones.cuts)
    expected = {name: float(np.abs(audio[name]).sum()) for name in audio}

    class Sums:
        def __len__(self) -> int:
            return len(expected)

        def __getitem__(self, index: int) -> tuple[str, float]:
            name = list(expected)[index]
            return name, float(np.abs(audio[name]).sum())

    loader = DataLoader(Sums(), batch_size=None, num_workers=2)
    assert dict(loader) == pytest.approx(expected)


def test_a_changed_manifest_is_indexed_anew(train_tones, tmp_path):
    manifest = _edit(train_tones.cuts, tmp_path / "cuts.jsonl.gz", lambda items: items[:3])
    assert len(CutAudio(manifest)) == 3
    _edit(train_tones.cuts, manifest, lambda items: items[:5])
    assert len(CutAudio(manifest)) == 5


def test_an_index_that_is_no_database_is_built_anew(train_tones, tmp_path):
    manifest = _edit(train_tones.cuts, tmp_path / "cuts.jsonl.gz", lambda items: items[:3])
    cut_index(manifest).write_bytes(b"rubbish" * 1000)
    assert len(CutAudio(manifest)) == 3


def test_no_partial_index_stays_where_building_fails(train_tones, tmp_path):
    manifest = _edit(
        train_tones.cuts,
        tmp_path / "cuts.jsonl.gz",
        lambda items: [*items[:3], {"type": "Nothing"}],
    )
    with pytest.raises(ValueError, match="line 4 is no cut but Nothing"):
        CutAudio(manifest)
    assert os.listdir(tmp_path) == ["cuts.jsonl.gz"]


def test_where_the_manifests_folder_is_full_the_index_goes_elsewhere(
    train_tones, tmp_path, monkeypatch
):
    fill, full = data._fill, {str(tmp_path / "data")}

    def on_a_full_disk(connection, *arguments):
        fill(connection, *arguments)
        ((_, _, name),) = connection.execute("PRAGMA database_list")
        if str(Path(name).parent) in full:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(data, "_fill", on_a_full_disk)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    for folder in ("data", "elsewhere"):
        (tmp_path / folder).mkdir()
    manifest = _edit(train_tones.cuts, tmp_path / "data" / "cuts.jsonl.gz", lambda items: items)
    index = cut_index(manifest)
    assert index.parent == tmp_path / "elsewhere"
    assert os.listdir(tmp_path / "data") == ["cuts.jsonl.gz"]
    index.unlink()
    full.add(str(tmp_path / "elsewhere"))
    with pytest.raises(
        OSError, match=r"its index cannot be written: .*data: .*full; .*elsewhere: "
    ):
        cut_index(manifest)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_an_index_is_read_by_those_who_read_the_manifest(train_tones, tmp_path):
    for mode in (0o600, 0o640):
        manifest = _edit(train_tones.cuts, tmp_path / f"{mode}.jsonl.gz", lambda items: items)
        manifest.chmod(mode)
        assert cut_index(manifest).stat().st_mode & 0o777 == mode


def test_an_id_that_occurs_twice_is_named(train_tones, tmp_path):
    manifest = _edit(train_tones.cuts, tmp_path / "cuts.jsonl.gz", lambda items: [*items, items[4]])
    with pytest.raises(ValueError, match=r"^utt1-04: the id occurs twice"):
        CutAudio(manifest)


def test_an_empty_manifest_and_another_format_are_refused(train_tones, tmp_path):
    empty = _edit(train_tones.cuts, tmp_path / "cuts.jsonl.gz", lambda items: [])
    with pytest.raises(ValueError, match="no cuts"):
        CutAudio(empty)
    with pytest.raises(ValueError, match=r"reads \.jsonl and \.jsonl\.gz"):
        CutAudio(tmp_path / "cuts.yaml")
    with pytest.raises(FileNotFoundError):
        CutAudio(tmp_path / "absent.jsonl")


def test_different_sampling_rates_are_refused_unless_allowed(train_tones, tmp_path):
    def slower(items: list[dict]) -> list[dict]:
        items[1]["recording"]["sampling_rate"] = 8000
        return items

    manifest = _edit(train_tones.cuts, tmp_path / "cuts.jsonl.gz", slower)
    with pytest.raises(ValueError, match="8000, 16000 Hz"):
        CutAudio(manifest)
    assert len(CutAudio(manifest, allow_multi_rates=True)) == len(train_tones.texts)


def test_audio_that_cannot_be_read_is_reported_with_the_utterance_first(train_tones, tmp_path):
    def lost(items: list[dict]) -> list[dict]:
        items[2]["recording"]["sources"][0]["source"] = str(tmp_path / "gone.flac")
        return items

    manifest = _edit(train_tones.cuts, tmp_path / "cuts.jsonl.gz", lost)
    with pytest.raises(ValueError, match=r"^utt1-02: audio could not be read: .*gone\.flac'.*$"):
        CutAudio(manifest)["utt1-02"]


def test_a_mixed_cut_is_read(train_tones, tmp_path):
    cuts = list(CutSet.from_file(train_tones.cuts))
    mixed = cuts[0].pad(duration=cuts[0].duration + 0.5).with_id("padded")
    manifest = tmp_path / "cuts.jsonl"
    CutSet.from_cuts([mixed]).to_file(manifest)
    np.testing.assert_array_equal(CutAudio(manifest)["padded"], mixed.load_audio()[0])


@pytest.mark.slow
def test_280_000_cuts_take_little_memory_in_all_workers_of_a_training(lab, tmp_path):
    many = copy.copy(lab)
    many.folder = tmp_path
    many.data = {**lab.data, "train": _copies(lab.data["train"], tmp_path / "many", 280_000)}
    for part, tones in many.data.items():
        shapes = tmp_path / "stats" / part / "speech_shape"
        shapes.parent.mkdir(parents=True)
        shapes.write_text("".join(f"{utterance} 12000\n" for utterance in tones.texts))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(CutAudio(many.data["train"].cuts)) == 280_000
    building = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert building < 100_000  # KiB

    # Every tenth utterance, in ESPnet's random order: most pages of what the workers share are touched.
    command = [sys.executable, "-m", "espnet_ottc.bin.asr_train"]
    command += many.command("exp", max_epoch=1, num_workers=4, batch_size=64)
    command += ["--num_iters_per_epoch", "440"]
    training = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    used = []
    while training.poll() is None:
        time.sleep(0.2)
        used.append([_private_memory(worker) for worker in _workers(training.pid)])
    assert training.returncode == 0
    assert max(map(len, used)) >= 4
    assert max(map(sum, used)) < 1_000_000  # KiB


def _copies(tones: Tones, directory: Path, count: int) -> Tones:
    """The same utterances over and over, under other ids."""
    directory.mkdir()
    with gzip.open(tones.cuts, "rt") as file:
        items = [json.loads(line) for line in file]
    texts = {}
    with gzip.open(directory / tones.cuts.name, "wt", compresslevel=1) as file:
        for number in range(count):
            item = items[number % len(items)]
            utterance = f"speaker-chapter-{number:07d}"
            texts[utterance] = tones.texts[item["id"]]
            file.write(json.dumps({**item, "id": utterance}) + "\n")
    (directory / "text").write_text("".join(f"{name} {text}\n" for name, text in texts.items()))
    return Tones(directory, texts)


def _workers(process: int) -> list[int]:
    """Data-loading processes of a training."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children if "pt_data_worker" in _status(child, "comm")]


def _private_memory(process: int) -> int:
    """KiB that a process shares with no other."""
    lines = _status(str(process), "smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _status(process: str, name: str) -> str:
    """A file of /proc; empty where the process has ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
