"""Shards of sets: what they make does not depend on how many there are."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording
from tiny_recipe import HOURS, recipe_folder, run_command

from espnet_ottc.alignment.parts import FOUND, read_parts, write_utterance
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.writing import Times
from espnet_ottc.espnet import cut_alignment
from espnet_ottc.recipe import feature_statistics, jobs
from espnet_ottc.recipe.audio_checks import check_audio
from espnet_ottc.recipe.clusters import Clusters
from espnet_ottc.recipe.lengths import write_lengths
from espnet_ottc.recipe.options import parse
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.shards import TOGETHER, Shard, remove_parts, run_shards, shards

SIZES = (*HOURS, "--synthetic_test_hours", "0.02", "--eval_sets", "test-clean")


@pytest.fixture
def options(tmp_path, monkeypatch):
    recipe = recipe_folder(tmp_path)
    monkeypatch.chdir(recipe)
    return lambda *words: Recipe(parse(["--conf", "conf/tiny", *words]))


def _bounds(found) -> list[tuple[int, int]]:
    return [(shard.first, shard.stop) for shard in found]


def test_shards_hold_whole_groups_and_every_utterance_once(options):
    assert TOGETHER % cut_alignment._MOST_TOGETHER == 0
    for count in (1, 16, 17, 100, 1001):
        found = _bounds(shards(options("--shard_utts", "20"), count, Path("x")))
        assert [first for first, _ in found] == list(range(0, count, 32))
        assert [n for first, stop in found for n in range(first, stop)] == list(range(count))


def test_without_a_size_each_core_has_a_share_that_is_worth_a_process(options):
    found = options("--nj", "4")
    assert _bounds(shards(found, 150, Path("x"))) == [(0, 150)]
    assert len(shards(found, 8000, Path("x"))) == 4
    assert len(shards(found, 8000, Path("x"), among=4)) == 1


def test_a_cluster_s_workers_count(options):
    Path("cluster.yaml").write_text("{cluster: slurm, workers: 3, cores: 5, gpus: 2}")
    words = ("--cluster", "cluster.yaml")
    assert len(shards(options(*words), 100_000, Path("x"))) == 15
    assert len(shards(options(*words, "--ngpu", "1"), 100_000, Path("x"))) == 6


def test_whole_shards_are_kept_where_the_inputs_are_the_same(options, tmp_path):
    folder = tmp_path / "shards"
    parts = shards(options("--shard_utts", "16"), 40, folder)
    done = []

    def work(shard) -> None:
        shard.folder.mkdir()
        done.append(shard.first)

    run_shards(parts, folder, work, resumed=False)
    shutil.rmtree(folder / "16-32")
    (folder / ".16-32.half").mkdir()
    run_shards(parts, folder, work, resumed=True)
    assert sorted(done) == [0, 16, 16, 32]
    run_shards(parts, folder, work, resumed=False)
    assert sorted(done)[:2] == [0, 0]
    (folder / "0-16.log").touch()
    remove_parts(folder)
    assert [path.name for path in folder.iterdir()] == ["0-16.log"]


def test_alignments_come_back_to_the_last_bit(tmp_path):
    numbers = np.random.default_rng(1).random((7, 3)) * [1, 1, 1e-9]
    spans = [
        Span(f"w{n}\u2028ü", *sorted((float(a), float(b))), float(c))
        for n, (a, b, c) in enumerate(numbers)
    ]
    with (tmp_path / FOUND).open("w", encoding="utf-8") as file:
        write_utterance(file, "one", 0.1 + 0.2, ["<blank>", "a"], {"v": (spans, spans[:2])})
        write_utterance(file, "two", 1.0, [], {"v": "too short"})
    found = read_parts([tmp_path], ["v"])
    assert found.times == {
        "v": Times({"one": spans}, {"one": spans[:2]}, {"two": "too short"}),
    }
    assert found.durations == {"one": 0.1 + 0.2, "two": 1.0}
    assert found.frame_labels == {"one": ["<blank>", "a"], "two": []}


def test_sums_are_added_utterance_by_utterance_in_the_set_s_order(tmp_path):
    rng = np.random.default_rng(2)
    count = rng.integers(10, 99, 50)
    sums = {name: (rng.standard_normal((50, 4)) * 1e4).astype(np.float32) for name in ("a", "b")}
    found = []
    for sizes in ([50], [16, 16, 16, 2], [1] * 50):
        folder = tmp_path / str(len(sizes))
        parts, first = [], 0
        for n, size in enumerate(sizes):
            part = folder / str(n)
            part.mkdir(parents=True)
            some = slice(first, first + size)
            arrays = {"sum": sums["a"][some], "sum_square": sums["b"][some]}
            np.savez(part / "feats_sums.npz", count=count[some], **arrays)
            (part / "batch_keys").write_text("speech\n")
            (part / "stats_keys").write_text("feats\n")
            (part / "speech_shape").write_text("".join(f"u{i} 1\n" for i in range(50)[some]))
            parts.append(part)
            first += size
        feature_statistics._put_together(parts, folder / "whole")
        with np.load(folder / "whole" / "feats_stats.npz") as whole:
            found.append({name: whole[name] for name in whole.files})
        lines = (folder / "whole" / "speech_shape").read_text().split("\n")
        assert lines == [*(f"u{i} 1" for i in range(50)), ""]
    for one in found:
        assert int(one["count"]) == count.sum()
        exact = sums["a"].astype(np.float64).sum(0)
        np.testing.assert_allclose(one["sum"], exact, rtol=1e-6)
        assert one["sum"].dtype == np.float32
        for name, value in one.items():
            np.testing.assert_array_equal(value, found[0][name])


def test_lengths_are_those_of_the_audio_without_reading_it(tmp_path):
    cuts = []
    for rate, seconds in ((16000, 1.00003), (8000, 0.3337), (16000, 2.5)):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros(int(rate * seconds) + 9), rate)
        cuts.append(Recording.from_file(path, f"r{seconds}").to_cut().truncate(duration=seconds))
    cuts.append(cuts[0].pad(duration=3.0))  # of a kind of its own
    cuts = [cut.with_id(f"u{number}") for number, cut in enumerate(cuts)]
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    expected = "".join(f"{cut.id} {cut.load_audio().shape[1]}\n" for cut in cuts)
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    write_lengths(tmp_path / "cuts.jsonl.gz", tmp_path / "train" / "speech_shape")
    assert (tmp_path / "train" / "speech_shape").read_text() == expected


def test_a_shard_s_utterances_are_told_by_set():
    counts = {"train": 5, "valid": 3}
    found = [
        feature_statistics._members(Shard(first, stop, Path("x")), counts)
        for first, stop in ((0, 4), (4, 8), (0, 8), (6, 7))
    ]
    assert [(one["train"], one["valid"]) for one in found] == [
        (range(4), range(0)),
        (range(4, 5), range(3)),
        (range(5), range(3)),
        (range(5, 5), range(1, 2)),
    ]


@pytest.mark.slow
def test_audio_that_cannot_be_read_is_found_in_every_shard(options, tmp_path):
    cuts = []
    for number in range(40):
        path = tmp_path / f"{number:02d}.wav"
        soundfile.write(path, np.zeros(16000 + number), 16000)
        recording = Recording.from_file(path)
        cuts.append(MonoCut(path.stem, 0, recording.duration, 0, recording=recording))
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    (tmp_path / "shar" / "dev").mkdir(parents=True)
    CutSet.from_cuts(cuts).to_shar(tmp_path / "shar" / "dev", {"recording": "flac"}, shard_size=9)
    for number in (3, 17, 39):
        path = tmp_path / f"{number:02d}.wav"
        path.write_bytes(path.read_bytes()[:500])
    found = [
        list(check_audio(options(*words), "dev", tmp_path / "cuts.jsonl.gz", 40, resumed=False))
        for words in (
            (),
            ("--shard_utts", "16", "--nj", "2"),
            # The stream has the audio that was whole.
            ("--shar", str(tmp_path / "shar"), "--shard_utts", "16"),
        )
    ]
    jobs.use(Clusters(), cores=1, gpus=0, trainings=1, threads=1)
    assert [problem.where for problem in found[0]] == ["03", "17", "39"]
    assert found[1:] == [found[0], []]
    assert len(list(Path("data/logs/cuts_dev").glob("*.log"))) == 3


def _digests(recipe: Path) -> dict[str, str]:
    """What stages 4, 6, 8 and 9 leave, by path."""
    patterns = ("exp/stats/*/*", "exp/*/seed1/ali/*/*", "exp/*/seed1/decode_*/*/*")
    patterns += ("exp/*/seed1/align_*/*/*.ctm", "exp/*/seed1/align_*/*/textgrid/*")
    patterns += ("exp/*/seed1/frames/*/*", "exp/*/seed1/align_*/*/infeasible")
    patterns += ("exp/*/seed1/align_*/*/score.*",)
    found = {}
    for path in sorted(path for pattern in patterns for path in recipe.glob(pattern)):
        if not path.is_file():  # .shards, with what the shards said
            continue
        content = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                content = b"".join(arrays[name].tobytes() for name in sorted(arrays.files))
        found[str(path.relative_to(recipe))] = hashlib.sha256(content).hexdigest()
    return found


@pytest.mark.slow
def test_results_are_the_same_for_one_shard_and_for_many(tmp_path):
    """All stages with shards, on what one run has trained."""
    pytest.importorskip("espeakng_loader", reason="the default corpus is spoken by espeak-ng")
    recipe = recipe_folder(tmp_path)
    config = (recipe / "conf/tiny/train_ctc.yaml").read_text()
    (recipe / "conf/tiny/train_ctc.yaml").write_text(config + "normalize: global_mvn\n")
    config = (recipe / "conf/tiny/train_ottc.yaml").read_text()
    (recipe / "conf/tiny/train_ottc.yaml").write_text(
        re.sub(r"label_weights: \w+\n", "", config).replace(
            "ctc_conf:\n", "ctc_conf:\n  label_weights: ali\n"
        )
        + "normalize: global_mvn\n"
    )

    def run(*words: str) -> None:
        command, environment = run_command(*SIZES, "--stop_stage", "10", *words)
        done = subprocess.run(
            command, cwd=recipe, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("--shard_utts", "100000")
    expected = _digests(recipe)
    for kind in ("stats", "ali", "decode_", "align_", "frames"):
        assert any(f"/{kind}" in name for name in expected), kind
    assert sum(name.endswith("score.json") for name in expected) == 6
    for mark in (recipe / "exp").rglob("*.json"):
        if ".marks" in mark.parts and not mark.name.startswith("train"):
            mark.unlink()
    run("--shard_utts", "1", "--nj", "3")
    assert _digests(recipe) == expected
    scored = (recipe / "exp").glob("*/seed1/shards/score_*/*-*.log")
    assert len({path.parent for path in scored}) == 6
    # Of streams, without the recordings.  Trainings on alignments need these.
    for cuts in recipe.glob("data/*/cuts.jsonl.gz"):
        (recipe / "shar" / cuts.parent.name).mkdir(parents=True)
        CutSet.from_file(cuts).to_shar(
            recipe / "shar" / cuts.parent.name, fields={"recording": "flac"}, shard_size=7
        )
    for mark in (recipe / "exp").rglob("*.json"):
        if ".marks" in mark.parts and not mark.name.startswith("train"):
            mark.unlink()
    for sound in recipe.glob("downloads/**/*.flac"):
        sound.unlink()
    stages = ("--systems", "ctc", "--shar", "shar", "--stage")
    run(*stages, "4", "--stop_stage", "4", "--shard_utts", "16")
    run(*stages, "8", "--shard_utts", "16")
    assert _digests(recipe) == expected
    assert len(list((recipe / "exp/logs/stats").glob("*.log"))) > 1
