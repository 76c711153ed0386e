"""A damaged manifest is named with file and line, by whoever reads it."""

import gzip
import json
import re

import pytest
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from espnet_ottc.alignment.formats import read_manifest
from espnet_ottc.corpora.own_formats import read_cuts
from espnet_ottc.espnet.data import CutAudio


def _cut(name):
    source = AudioSource(type="file", channels=[0], source=f"{name}.wav")
    recording = Recording(
        id=name, sources=[source], sampling_rate=16000, num_samples=1600, duration=0.1
    )
    words = SupervisionSegment(id=name, recording_id=name, start=0, duration=0.1, text="A")
    return MonoCut(
        id=name, start=0, duration=0.1, channel=0, recording=recording, supervisions=[words]
    )


LINE = json.dumps(_cut("a").to_dict())
READERS = {
    "manifest": lambda path: list(read_manifest(path, "cuts")),
    "audio of a training": CutAudio,
    "a corpus of cuts": read_cuts,
}


def _packed(text):
    return gzip.compress(text.encode(), mtime=0)


# Random ids, so that half of the compressed file has many whole lines.
MANY = "".join(json.dumps(_cut(f"{n * 7919 % 10007:05d}").to_dict()) + "\n" for n in range(400))
DAMAGED = {
    "cut off": (_packed(MANY)[:2000], r"after line \d+: damaged or cut off"),
    "no gzip": (LINE.encode(), "after line 0: damaged or cut off"),
    "half a line": (_packed(LINE + "\n" + LINE[:50]), "line 2: "),
    "no object": (_packed(f"{LINE}\n[1, 2]\n"), "line 2: must be a JSON object"),
    "another encoding": (gzip.compress(b"\xe9\n"), "must be UTF-8"),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_manifest_is_named_with_its_line(tmp_path, reader, content, message):
    path = tmp_path / "cuts.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}, .*{message}"):
        reader(path)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_an_empty_manifest_and_a_folder_in_its_place_are_named(tmp_path, reader):
    empty, folder = tmp_path / "empty.jsonl.gz", tmp_path / "folder.jsonl.gz"
    empty.write_bytes(_packed(""))
    folder.mkdir()
    for path in (empty, folder):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            reader(path)
    with pytest.raises(FileNotFoundError, match="gone"):
        reader(tmp_path / "gone.jsonl.gz")


def test_items_of_another_kind_or_without_a_field_are_named(tmp_path):
    path = tmp_path / "cuts.jsonl"
    path.write_text(LINE + "\n")
    assert [cut.id for cut in read_manifest(path, "cuts")] == ["a"]
    with pytest.raises(ValueError, match=r"cuts\.jsonl, line 1: must be one of recordings"):
        list(read_manifest(path, "recordings"))
    lacking = json.loads(LINE)
    del lacking["recording"]["sources"]
    path.write_text(f"{LINE}\n\n{json.dumps(lacking)}\n")
    with pytest.raises(ValueError, match=r"cuts\.jsonl, line 3: "):
        list(read_manifest(path, "cuts"))


@pytest.mark.parametrize("name", ["cuts.json", "cuts.yaml", "cuts.json.gz"])
def test_other_kinds_of_manifests_are_read_by_lhotse(tmp_path, name):
    from lhotse import CutSet

    CutSet.from_cuts([_cut("a"), _cut("b")]).to_file(tmp_path / name)
    assert [cut.id for cut in read_manifest(tmp_path / name, "cuts")] == ["a", "b"]
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=re.escape(name)):
        list(read_manifest(tmp_path / name, "cuts"))
