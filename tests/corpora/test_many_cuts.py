"""Memory of the stages that go through manifests, and of scores (2, 4 and 10): it does not grow with them."""

import json
import subprocess
import sys

import pytest

CODE = """
import json, resource, sys
from pathlib import Path
from lhotse import AudioSource, MonoCut, Recording, SupervisionSegment
from espnet_ottc.corpora.manifests import write_cuts
from espnet_ottc.recipe.lengths import write_lengths
from espnet_ottc.recipe.scoring import write_reference_times

def cuts(count):
    source = AudioSource("file", [0], "r.flac")
    recording = Recording("r", [source], 16000, 16000 * 1000, 1000.0)
    for number in range(count):
        name = f"speaker{number % 991:04d}-chapter-{number:09d}"
        words = [SupervisionSegment(name, "r", 0.0, 12.5, text="A SENTENCE OF SOME WORDS " * 6)]
        yield MonoCut(name, 0.0, 12.5, 0, words, recording=recording)

out = Path(sys.argv[1])
done = write_cuts(cuts(int(sys.argv[2])), out, decode=False)
write_lengths(out / "cuts.jsonl.gz", out / "speech_shape")
assert write_reference_times(out / "cuts.jsonl.gz", out / "reference.ctm") == (0, done.cuts)
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"cuts": done.cuts, "hours": done.hours, "MiB": most}))
"""
SCORES = """
import json, resource, sys
from pathlib import Path
from espnet_ottc.alignment.scoring import score_time_files, score_word_files

out, count = Path(sys.argv[1]), int(sys.argv[2])
files = {name: out / name for name in ("words", "reference.ctm", "hypothesis.ctm")}
written = {name: path.open("w") for name, path in files.items()}
for number in range(count):
    name = f"speaker{number % 991:04d}-chapter-{number:09d}"
    written["words"].write(f"{name} A SENTENCE OF SOME WORDS\\n")
    for place, word in enumerate(("A", "SENTENCE", "OF", "SOME", "WORDS")):
        written["reference.ctm"].write(f"{name} 1 {place}.25 0.75 {word}\\n")
        moved = 250 + (number + place) % 499
        written["hypothesis.ctm"].write(f"{name} 1 {place}.{moved} 0.5 {word}\\n")
for file in written.values():
    file.close()
words = score_word_files(files["words"], files["words"], cores=1)
times = score_time_files(files["reference.ctm"], files["hypothesis.ctm"], cores=1)
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found = {"words": words.words.counts.words, "matched": times.scores.matched, "MiB": most}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_scores_take_the_same_memory_however_many_utterances_there_are(tmp_path):
    found = []
    for count in (20_000, 120_000):
        (tmp_path / str(count)).mkdir()
        words = [sys.executable, "-c", SCORES, tmp_path / str(count), str(count)]
        found.append(json.loads(subprocess.check_output(words)))
        assert found[-1]["words"] == found[-1]["matched"] == 5 * count
    # Ids alone would be 10 MiB, words 90; a number of each id is 1.
    assert found[1]["MiB"] - found[0]["MiB"] < 8


@pytest.mark.slow
def test_cuts_lengths_and_times_are_written_in_the_same_memory_however_many_there_are(tmp_path):
    found = []
    for count in (2_000, 60_000):
        words = [sys.executable, "-c", CODE, tmp_path / str(count), str(count)]
        found.append(json.loads(subprocess.check_output(words)))
    assert [one["cuts"] for one in found] == [2_000, 60_000]
    # Ids alone would be 6 MiB, cuts 200.
    assert found[1]["MiB"] - found[0]["MiB"] < 5
