"""The data type `lhotse`."""

import gzip
import json
import multiprocessing
import os
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from torch.utils.data import DataLoader

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
    with pytest.raises(RuntimeError, match=r"^utt1-02: audio could not be read: "):
        CutAudio(manifest)["utt1-02"]


def test_a_mixed_cut_is_read(train_tones, tmp_path):
    cuts = list(CutSet.from_file(train_tones.cuts))
    mixed = cuts[0].pad(duration=cuts[0].duration + 0.5).with_id("padded")
    manifest = tmp_path / "cuts.jsonl"
    CutSet.from_cuts([mixed]).to_file(manifest)
    np.testing.assert_array_equal(CutAudio(manifest)["padded"], mixed.load_audio()[0])


def _private_memory(_: int) -> int:
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


@pytest.mark.slow
def test_280_000_cuts_take_little_memory_in_all_workers_together(train_tones, tmp_path):
    with gzip.open(train_tones.cuts, "rt") as file:
        items = [json.loads(line) for line in file]

    def lines() -> Iterator[str]:
        for number in range(280_000):
            item = items[number % len(items)]
            yield json.dumps({**item, "id": f"speaker-chapter-{number:07d}"}) + "\n"

    manifest = tmp_path / "cuts.jsonl"
    with manifest.open("w") as file:
        file.writelines(lines())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    audio = CutAudio(manifest)
    assert len(audio) == 280_000
    building = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert building < 100_000  # KiB

    def read_many(seed: int) -> int:
        names = np.random.default_rng(seed).integers(0, 280_000, 300)
        for number in names:
            audio[f"speaker-chapter-{number:07d}"]
        return _private_memory(0)

    global _task
    _task = read_many
    with multiprocessing.get_context("fork").Pool(8) as pool:
        used = pool.map(_run_task, range(8))
    assert sum(used) < 1_000_000  # KiB


_task = None


def _run_task(seed: int) -> int:
    assert _task is not None
    return _task(seed)
