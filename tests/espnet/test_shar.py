"""Training on a stream of Lhotse Shar."""

import functools
import gc
import http.server
import pickle
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from espnet2.train.iterable_dataset import IterableESPnetDataset
from espnet_lab import Lab, write_tones
from lhotse import CutSet

from espnet_ottc.alignment.formats.shar import shar_cuts, shar_part, shar_shards
from espnet_ottc.corpora.manifests import audio_problems_of
from espnet_ottc.espnet.shar import Batching, SharBatches, SharIterFactory, shar_source
from espnet_ottc.espnet.shar_audio import SharAudio

CTC = {"ctc_type": "ottc", "boundary_label": "<space>"}


@pytest.fixture(autouse=True)
def open_files():
    """Lhotse leaves the file of a stream open that nobody reads to its end."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shar")
    tones = write_tones(folder / "train", 24, 1), write_tones(folder / "valid", 8, 2)
    for one, size in zip(tones, (6, 4), strict=True):
        (one.directory / "shar").mkdir()
        CutSet.from_file(one.cuts).to_shar(
            one.directory / "shar", fields={"recording": "flac"}, shard_size=size
        )
    return Lab(folder, *tones)


@pytest.fixture
def source(lab) -> str:
    return str(lab.data["train"].directory / "shar")


def _ids(batches, workers=0, rank=0, processes=1, epoch=1, most=None) -> list[list[str]]:
    factory = SharIterFactory(batches, 7, lambda batch: [name for name, _ in batch], most=most)
    factory.workers, factory.rank, factory.processes = workers, rank, processes
    return list(factory.build_iter(epoch))


def test_every_utterance_is_read_once_by_all_workers_of_all_processes(lab, source):
    batches = SharBatches(shar_shards(source), Batching(4), shuffle=True)
    parts = [_ids(batches, workers=2, rank=rank, processes=2) for rank in (0, 1)]
    assert all(parts)
    found = [name for part in parts for batch in part for name in batch]
    assert sorted(found) == sorted(lab.data["train"].texts)


def test_an_epoch_s_batches_are_the_same_again_and_differ_from_the_next_s(source):
    for batching in (Batching(4), Batching(4, 2.5, (1.0,))):
        batches = SharBatches(shar_shards(source), batching, shuffle=True)
        first = _ids(batches)
        assert _ids(batches) == first
        assert _ids(batches, epoch=2) != first


def test_batches_of_seconds_hold_no_more(lab, source):
    shards = shar_shards(source)
    seconds = {cut.id: cut.duration for cut in shar_cuts(shards)}
    found = _ids(SharBatches(shards, Batching(99, 3.0, (1.0,)), shuffle=True))
    assert max(sum(seconds[name] for name in batch) for batch in found) <= 3.0
    assert sum(map(len, found)) == len(seconds)
    assert len({len(batch) for batch in found}) > 1


def test_an_epoch_of_so_many_batches_goes_through_a_small_source_again(source):
    batches = SharBatches(shar_shards(source), Batching(8), shuffle=True, repeat=True)
    assert len(_ids(batches, most=10)) == 10


def test_validation_keeps_the_order(lab):
    source = str(lab.valid.directory / "shar")
    found = _ids(SharBatches(shar_shards(source), Batching(3)))
    assert [name for batch in found for name in batch] == list(lab.valid.texts)


def test_fewer_shards_than_workers_are_refused(source):
    batches = SharBatches(shar_shards(source), Batching(4))
    with pytest.raises(ValueError, match="a shard for each of 1 processes with 5 workers"):
        SharIterFactory(batches, 0, list, workers=5)


def test_a_shard_that_is_cut_off_is_named(source, tmp_path):
    for name in ("cuts.000000.jsonl.gz", "recording.000000.tar"):
        (tmp_path / name).write_bytes((Path(source) / name).read_bytes())
    audio = tmp_path / "recording.000000.tar"
    whole = audio.read_bytes()
    for size in (len(whole) // 2, 512 * 5, 100):
        audio.write_bytes(whole[:size])
        with pytest.raises(
            ValueError, match=r"recording.000000.tar: (damaged|must have audio of 6)"
        ):
            list(shar_cuts(shar_shards(str(tmp_path))))
    (tmp_path / "cuts.000000.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"cuts.000000.jsonl.gz: damaged"):
        list(shar_cuts(shar_shards(str(tmp_path))))
    audio.unlink()
    with pytest.raises(ValueError, match="got 1 and 0"):
        shar_shards(str(tmp_path))


def test_a_part_of_a_source_leaves_the_other_shards_unread(lab, source, tmp_path):
    for path in Path(source).iterdir():
        broken = path.name in ("recording.000000.tar", "recording.000003.tar")
        (tmp_path / path.name).write_bytes(b"" if broken else path.read_bytes())
    wanted = list(CutSet.from_file(lab.data["train"].cuts))
    found = list(shar_part(str(tmp_path), wanted[8:15], 8, 15))
    assert [cut.id for cut in found] == [cut.id for cut in wanted[8:15]]
    sound = [cut.load_audio() for cut in wanted[8:15]]
    # FLAC has 16 bits, and so had the recording.
    for one, cut in zip(sound, found, strict=True):
        np.testing.assert_array_equal(cut.load_audio(), one)
    with pytest.raises(ValueError, match=r"must have the cuts of the set in the same order"):
        list(shar_part(str(tmp_path), wanted[9:16], 8, 15))
    with pytest.raises(ValueError, match="has 24 cuts, and not this one"):
        list(shar_part(source, wanted[22:24] + wanted[:1], 22, 25))


def test_decoding_and_statistics_get_the_audio_that_cuts_have(lab, source):
    found = {}
    ids = list(lab.data["train"].texts)
    wanted = [*ids[1:3], *ids[8:11], ids[23]]
    for path, kind in ((lab.data["train"].cuts, "lhotse"), (source, "shar")):
        data = IterableESPnetDataset([(str(path), "speech", kind)], key_file=wanted)
        found[kind] = {name: content["speech"] for name, content in data}
    assert list(found["shar"]) == wanted
    for name, samples in found["lhotse"].items():
        np.testing.assert_array_equal(found["shar"][name], samples)


def test_a_stream_asked_by_ids_leaves_shards_unread_that_have_none_of_them(lab, source, tmp_path):
    for path in Path(source).iterdir():
        broken = path.name in ("recording.000000.tar", "recording.000002.tar")
        (tmp_path / path.name).write_bytes(b"" if broken else path.read_bytes())
    ids = list(lab.data["train"].texts)
    audio = SharAudio(str(tmp_path))
    assert [len(audio[name]) for name in (ids[7], ids[20])] == [
        len(cut.load_audio()[0])
        for cut in CutSet.from_file(lab.data["train"].cuts)
        if cut.id in (ids[7], ids[20])
    ]
    assert list(audio) == ids
    assert len(audio) == 24
    assert ids[3] in audio
    with pytest.raises(ValueError, match=r"recording.000000.tar: (damaged|must have audio)"):
        SharAudio(str(tmp_path))[ids[0]]


def test_a_stream_cannot_be_asked_for_what_lies_behind(lab, source):
    ids = list(lab.data["train"].texts)
    audio = SharAudio(source)
    _ = audio[ids[9]]
    with pytest.raises(KeyError, match=f"must have this cut behind {ids[9]}, since a stream"):
        _ = audio[ids[2]]
    # In another process it begins anew.
    again = pickle.loads(pickle.dumps(audio))
    assert len(again[ids[2]]) == len(SharAudio(source)[ids[2]])
    with pytest.raises(KeyError, match=r"'nobody: .* must have this cut, since"):
        _ = SharAudio(source)["nobody"]


def test_a_stream_of_several_rates_is_refused_unless_allowed(lab, source, tmp_path):
    one = CutSet.from_file(lab.data["train"].cuts).subset(first=2).to_eager()
    rate = one[0].sampling_rate
    mixed = CutSet.from_cuts([one[0], one[1].resample(rate // 2)])
    mixed.to_shar(tmp_path, fields={"recording": "wav"})
    audio = SharAudio(str(tmp_path))
    _ = audio[one[0].id]
    with pytest.raises(ValueError, match=f"must have one sampling rate, got {rate // 2} after"):
        _ = audio[one[1].id]
    allowed = SharAudio(str(tmp_path), allow_multi_rates=True)
    assert len(allowed[one[0].id]) > len(allowed[one[1].id]) / 2 > 0


def test_audio_is_checked_in_the_stream(lab, source, tmp_path):
    cuts = lab.data["train"].cuts
    assert list(audio_problems_of(cuts, shar=source)) == []
    assert list(audio_problems_of(cuts, shar=source, first=5, stop=9)) == []
    # A manifest whose recordings are gone.
    CutSet.from_file(cuts).to_file(tmp_path / "cuts.jsonl")
    text = (tmp_path / "cuts.jsonl").read_text()
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.write_text(text.replace('"source": "', '"source": "/gone'))
    assert len(list(audio_problems_of(elsewhere))) == 24
    assert list(audio_problems_of(elsewhere, shar=source)) == []
    CutSet.from_file(cuts).subset(last=23).to_file(tmp_path / "others.jsonl")
    with pytest.raises(ValueError, match="must have the cuts of the set in the same order"):
        list(audio_problems_of(tmp_path / "others.jsonl", shar=source))


def test_other_data_beside_it_are_refused():
    with pytest.raises(ValueError, match="must be the only data"):
        shar_source([("dir", "speech", "shar"), ("text", "text", "text")])


def test_a_url_is_read_as_the_folder_is(source):
    for module in ("fsspec", "smart_open", "aiohttp"):
        pytest.importorskip(module)
    handler = functools.partial(_Quiet, directory=source)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        found = [(cut.id, cut.load_audio().tobytes()) for cut in shar_cuts(shar_shards(url))]
        server.shutdown()
    assert found == [(c.id, c.load_audio().tobytes()) for c in shar_cuts(shar_shards(source))]


def test_a_bucket_is_read_as_the_folder_is(source, bucket):
    found = shar_shards(bucket(Path(source)))
    assert [one["cuts"].rpartition("/")[0] for one in found] == ["s3://speech/train/shar"] * 4
    read = [(cut.id, cut.load_audio().tobytes()) for cut in shar_cuts(found)]
    assert read == [(c.id, c.load_audio().tobytes()) for c in shar_cuts(shar_shards(source))]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _train(
    lab, name: str, epochs: int, *options: str, place=lambda folder: str(folder)
) -> dict[str, torch.Tensor]:
    words = lab.command(name, max_epoch=epochs, ctc_conf=CTC, batch_size=6, num_workers=1)
    kept = []
    while words:
        word = words.pop(0)
        if word.endswith(("_data_path_and_name_and_type", "_shape_file")):
            words.pop(0)
        else:
            kept.append(word)
    for part, tones in lab.data.items():
        source = place(tones.directory / "shar")
        kept += [f"--{part}_data_path_and_name_and_type", f"{source},speech,shar"]
    from espnet_ottc.bin import asr_train

    asr_train.main([*kept, *options])
    return torch.load(lab.folder / name / f"{epochs}epoch.pth", weights_only=True)


@pytest.mark.slow
def test_a_training_that_was_ended_goes_on_with_the_batches_it_would_have_had(lab):
    whole = _train(lab, "whole", 3)
    _train(lab, "parts", 2)
    resumed = _train(lab, "parts", 3, "--resume", "true")
    other = _train(lab, "other", 3, "--seed", "4")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
    assert any(not torch.equal(other[name], value) for name, value in whole.items())


@pytest.mark.slow
def test_a_training_on_a_bucket_is_that_on_its_folder(lab, bucket):
    of_folder = _train(lab, "of_folder", 2)
    of_bucket = _train(lab, "of_bucket", 2, place=bucket)
    for name, value in of_folder.items():
        torch.testing.assert_close(of_bucket[name], value, rtol=0, atol=0)
