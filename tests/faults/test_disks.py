"""Full disks and folders that cannot be written: what was there stays, and no half of a file is left."""

import errno
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from readers import readers

from espnet_ottc.aligner.journal import Journal
from espnet_ottc.alignment import formats
from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.outputs.json_file import read_alignment, write_alignment
from espnet_ottc.alignment.spans import Span
from espnet_ottc.alignment.writing import Times, write_times
from espnet_ottc.utils.files import write_json
from espnet_ottc.utils.training_records import EpochRecord, replace_epochs

WORDS = [Span(f"word{number}", number, number + 0.5) for number in range(300)]
SPANS = {"u1": WORDS, "u2": WORDS}
DURATIONS = {"u1": 400.0, "u2": 400.0}
UTTERANCE = AlignedUtterance(
    "u", "r", 0.0, 400.0, tuple(AlignedWord(one.symbol, one.start, one.end) for one in WORDS)
)
# Each writes more than a disk of `ROOM` bytes holds, to a path in the folder that it is given.
ROOM = 4096
Writer = Callable[[Path], object]
WRITERS: dict[str, Writer] = {
    "a.ctm": lambda path: formats.write_ctm(path, SPANS),
    "a.TextGrid": lambda path: formats.write_textgrid(path, {"words": WORDS}, 400.0),
    "a.jsonl": lambda path: formats.write_supervisions(path, SPANS, DURATIONS),
    "text": lambda path: formats.write_columns(path, {"u1": ["word"] * 3000}),
    "a.json": lambda path: write_json(path, ["word"] * 3000),
    "alignment.json": lambda path: write_alignment(path, [UTTERANCE]),
    "epochs.jsonl": lambda path: replace_epochs(
        path.parent, [EpochRecord(n, 900, {"loss": 1.0}, {"loss": 2.0}) for n in range(900)]
    ),
}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond `ROOM` bytes, as on a disk that has as many left."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("name", WRITERS)
def test_on_a_full_disk_a_file_stays_what_it_was(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"what was there")
    with full_disk(), pytest.raises(OSError) as fault:  # noqa: PT011
        WRITERS[name](path)
    assert fault.value.errno == errno.EFBIG
    assert path.read_bytes() == b"what was there"
    assert [one.name for one in tmp_path.iterdir()] == [name]
    WRITERS[name](path)
    assert path.stat().st_size > ROOM


def test_on_a_full_disk_the_files_of_an_alignment_stay_what_they_were(tmp_path: Path) -> None:
    small = Times({"u1": WORDS[:2]}, {"u1": WORDS[:2]}, {})
    write_times(tmp_path, small, DURATIONS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with full_disk(), pytest.raises(OSError, match="large"):
        write_times(tmp_path, Times(SPANS, SPANS, {}), DURATIONS)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_on_a_full_disk_a_model_stays_what_it_was(tmp_path: Path) -> None:
    reader = readers()["boundary_json"]
    folder = tmp_path / "model"
    folder.mkdir()
    model = BoundaryModel.load(reader.path(folder, reader.samples[0]).parent)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with full_disk(), pytest.raises((OSError, RuntimeError)):
        model.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_a_journal_goes_on_after_a_full_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    short = AlignedUtterance("short", "r", 0.0, 1.0, ())
    journal.add("short", short)
    with full_disk(), pytest.raises(OSError, match="large"):
        journal.add("long", UTTERANCE)
    again = Journal(tmp_path / "journal.jsonl")
    assert "short" in again
    assert "long" not in again
    again.add("long", UTTERANCE)
    assert Journal(tmp_path / "journal.jsonl").get("long") == UTTERANCE


def test_a_file_of_an_alignment_that_is_whole_reads_as_it_was_written(tmp_path: Path) -> None:
    write_alignment(tmp_path / "a.json", [UTTERANCE])
    assert len(read_alignment(tmp_path / "a.json")[0].words) == len(WORDS)


# Real file systems, in a name space of their own: root ignores the modes of folders.
SCRIPT = """
set -e
mount -t tmpfs -o size=64k none "$1"
printf 'u1 A B\\n' > "$1/ref"
printf 'old' > "$1/scores.json"
{state}
set +e
"$2" -m espnet_ottc.bin.score_words --ref "$1/ref" --hyp "$1/ref" --json "$1/scores.json"
echo "status $?" >&2
cat "$1/scores.json"
ls -A "$1"
"""


def _has_mounts() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    )
    return done.returncode == 0


@pytest.mark.skipif(not _has_mounts(), reason="mounting file systems needs root")
@pytest.mark.parametrize(
    ("state", "message"),
    [
        ('mount -o remount,ro "$1"', "Read-only file system"),
        ('dd if=/dev/zero of="$1/fill" bs=1k count=100 2>/dev/null || true', "No space left"),
    ],
    ids=["read-only", "full"],
)
def test_a_command_says_why_it_cannot_write_and_leaves_what_was_there(
    tmp_path: Path, state: str, message: str
) -> None:
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", SCRIPT.format(state=state), "sh", tmp_path, sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    error, status = done.stderr.strip().splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert status == "status 1"
    old, *names = done.stdout[done.stdout.index("old") :].splitlines()
    assert old.startswith("old")
    assert not [name for name in names if "partial" in name]
