"""Every example runs, with a budget that shows that it works and not that it learns all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(folder: Path, name: str, *options: str) -> str:
    """Standard output of an example, which is run in a folder of its own and without the network."""
    offline = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", EXAMPLES / f"{name}.py", *options],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **offline},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def table(printed: str) -> dict[str, list[float]]:
    rows = [line.split() for line in printed.splitlines()[1:]]
    return {row[0]: [float(value) for value in row[1:]] for row in rows}


def test_handwriting_draws_and_ottc_places_digits_better_than_ctc(tmp_path):
    pytest.importorskip("sklearn")
    options = ("--seeds", "1", "--steps", "60", "--test_lines", "20", "--picture", "lines.png")
    found = table(run(tmp_path, "handwriting", *options))
    assert found["ottc"][2] < found["ctc"][2]  # columns off
    assert found["ottc"][3] > 50 > found["ctc"][3]  # overlap
    assert (tmp_path / "lines.png").stat().st_size > 10_000


@pytest.mark.slow
def test_handwriting_reads_and_places_unseen_digits_with_every_seed(tmp_path):
    pytest.importorskip("sklearn")
    for seed in "123":
        found = table(run(tmp_path, "handwriting", "--seeds", seed))
        assert found["ottc"][1] < 10
        assert found["ottc"][2] < 1.0 < found["ctc"][2]


def test_lightning_trains_and_gives_words_with_times(tmp_path):
    pytest.importorskip("lightning")
    printed = run(tmp_path, "lightning_training", "--epochs", "1", "--numbers", "32")
    assert re.search(r"\d+ of 40 numbers are right", printed)


@pytest.mark.slow
def test_lightning_learns_to_read_most_numbers(tmp_path):
    pytest.importorskip("lightning")
    printed = run(tmp_path, "lightning_training")
    right = re.search(r"(\d+) of 40 numbers are right; .* are (\d+) ms off", printed)
    assert right is not None, printed
    assert int(right[1]) >= 30
    assert int(right[2]) < 40


def test_wav2vec2_trains_offline_is_saved_and_goes_on_from_there(tmp_path):
    pytest.importorskip("transformers")
    run(tmp_path, "wav2vec2_trainer", "--steps", "2", "--out", "first")
    assert (tmp_path / "first" / "model.safetensors").exists()
    printed = run(tmp_path, "wav2vec2_trainer", "--steps", "2", "--model", "first")
    assert re.search(r"\d+ of 40 numbers are right", printed)


def test_wav2vec2_reads_a_folder_of_recordings(tmp_path):
    pytest.importorskip("transformers")
    soundfile = pytest.importorskip("soundfile")
    sys.path.insert(0, str(EXAMPLES))
    from telephone import RATE, calls

    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, call in enumerate(calls(4, 3)):
        soundfile.write(folder / f"{number}.wav", call.samples, RATE)
        (folder / f"{number}.txt").write_text(call.text + "\n")
    printed = run(tmp_path, "wav2vec2_trainer", "--steps", "1", "--data", str(folder))
    assert "of 4 numbers are right" in printed
