"""Memory of the stages that go through manifests (2, 4 and 10): it does not grow with them."""

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


@pytest.mark.slow
def test_cuts_lengths_and_times_are_written_in_the_same_memory_however_many_there_are(tmp_path):
    found = []
    for count in (2_000, 60_000):
        words = [sys.executable, "-c", CODE, tmp_path / str(count), str(count)]
        found.append(json.loads(subprocess.check_output(words)))
    assert [one["cuts"] for one in found] == [2_000, 60_000]
    # Ids alone would be 6 MiB, cuts 200.
    assert found[1]["MiB"] - found[0]["MiB"] < 5
