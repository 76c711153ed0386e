"""Data of people's own, in each of the forms that they have."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from espnet_ottc.alignment.formats import write_textgrid
from espnet_ottc.alignment.spans import Span
from espnet_ottc.corpora import own_data
from espnet_ottc.corpora.manifests import CorpusError, write_cuts
from espnet_ottc.corpora.splits import split_by_speaker


def sound(path: Path, seconds: float = 2.0, rate: int = 16000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels))
    soundfile.write(path, samples, rate)
    return path


def prepared(data: Path, out: Path) -> tuple[dict[str, MonoCut], list[str]]:
    """All cuts by id, as they come back from the checked files, and the notes."""
    summaries = list(own_data.prepare_parts(data, own_data.KNOWN_PARTS, out / "manifests"))
    cuts: dict[str, MonoCut] = {}
    for part in own_data.KNOWN_PARTS:
        write_cuts(own_data.cuts_of(out / "manifests", [part]), out / part)
        cuts |= {cut.id: cut for cut in CutSet.from_file(out / part / "cuts.jsonl.gz")}
    assert sum(one.utterances for one in summaries) == len(cuts)
    return cuts, list(dict.fromkeys(str(note) for one in summaries for note in one.notes))


def words_of(cut: MonoCut) -> list[tuple[str, float, float]]:
    items = (cut.supervisions[0].alignment or {}).get("word", [])
    return [(one.symbol, one.start, round(one.end, 6)) for one in items]


def kaldi(folder: Path) -> Path:
    """Three speakers: one recording each, the first one cut into two utterances."""
    for name in "abc":
        sound(folder / f"{name}.wav", 4.0)
    (folder / "wav.scp").write_text(f"a a.wav\nb {folder / 'b.wav'}\nc {folder / 'c.wav'}\n")
    (folder / "segments").write_text("a-1 a 0.5 2.0\na-2 a 2.0 -1\nb-1 b 0 4\nc-1 c 0 4\n")
    (folder / "text").write_text("a-1 one two\na-2 three\nb-1 four\nc-1 five\n")
    (folder / "utt2spk").write_text("a-1 ann\na-2 ann\nb-1 bob\nc-1 cat\n")
    return folder


def test_a_kaldi_directory_gives_its_utterances(tmp_path):
    cuts, _ = prepared(kaldi(tmp_path / "data"), tmp_path / "out")
    assert sorted(cuts) == ["a-1", "a-2", "b-1", "c-1"]
    assert (cuts["a-1"].start, cuts["a-1"].duration) == (0.5, 1.5)
    assert (cuts["a-2"].start, cuts["a-2"].duration) == (2.0, 2.0)
    assert cuts["a-1"].supervisions[0].text == "one two"
    assert cuts["a-1"].supervisions[0].speaker == "ann"


@pytest.mark.parametrize(
    "ctm", ["a 1 0.6 0.4 one\na 1 1.0 0.5 two\n", "a-1 1 0.1 0.4 one\na-1 1 0.5 0.5 two\n"]
)
def test_a_ctm_may_name_recordings_or_utterances(tmp_path, ctm):
    data = kaldi(tmp_path / "data")
    (data / "ctm").write_text(ctm)
    cuts, _ = prepared(data, tmp_path / "out")
    assert words_of(cuts["a-1"]) == [("one", 0.1, 0.5), ("two", 0.5, 1.0)]
    assert words_of(cuts["a-2"]) == []


def test_commands_in_wav_scp_are_not_run(tmp_path):
    data = kaldi(tmp_path / "data")
    marker = tmp_path / "executed"
    with (data / "wav.scp").open("a") as file:
        file.write(f"d touch {marker} |\n")
    with (data / "segments").open("a") as file:
        file.write("d-1 d 0 1\n")
    cuts, notes = prepared(data, tmp_path / "out")
    assert not marker.exists()
    assert "d-1" not in cuts
    assert any(note.startswith("d: left out: wav.scp has a command") for note in notes)


def test_what_a_kaldi_directory_has_beside_its_utterances_is_named(tmp_path):
    data = kaldi(tmp_path / "data")
    sound(data / "silent.wav")
    with (data / "wav.scp").open("a") as file:
        file.write("silent silent.wav\n")
    with (data / "text").open("a") as file:
        file.write("a-9 words of nobody\n")
    _, notes = prepared(data, tmp_path / "out")
    assert "silent: left out: no utterance in text or segments" in notes
    assert "a-9: left out: it has text, and no line in segments" in notes


def test_without_segments_the_recordings_are_the_utterances(tmp_path):
    data = kaldi(tmp_path / "data")
    (data / "segments").unlink()
    (data / "text").write_text("a one\nb two\nc three\n")
    cuts, _ = prepared(data, tmp_path / "out")
    assert {name: cut.duration for name, cut in cuts.items()} == {"a": 4.0, "b": 4.0, "c": 4.0}


def test_texts_beside_audio_in_any_of_their_forms(tmp_path):
    data = tmp_path / "data"
    sound(data / "ann/x y.wav").with_suffix(".txt").write_text("ONE\n  TWO\n", encoding="utf-8-sig")
    sound(data / "bob/2.flac", rate=44100).with_suffix(".lab").write_text("THREE")
    spans = [Span("four", 0.25, 0.5), Span("five", 1.0, 1.5)]
    write_textgrid(sound(data / "cat/3.wav").with_suffix(".TextGrid"), {"words": spans}, 2.0)
    cuts, _ = prepared(data, tmp_path / "out")
    texts = {name: cut.supervisions[0].text for name, cut in cuts.items()}
    assert texts == {"ann-x_y": "ONE TWO", "bob-2": "THREE", "cat-3": "four five"}
    assert words_of(cuts["cat-3"]) == [("four", 0.25, 0.5), ("five", 1.0, 1.5)]
    assert {cut.supervisions[0].speaker for cut in cuts.values()} == {"ann", "bob", "cat"}
    assert cuts["bob-2"].sampling_rate == 16000


def test_folders_that_are_links_are_searched_too(tmp_path):
    data, elsewhere = tmp_path / "data", tmp_path / "disk"
    for name in ("ann/1", "bob/2", "cat/3"):
        place = elsewhere if name.startswith("ann") else data
        sound(place / f"{name}.wav").with_suffix(".txt").write_text("ONE")
    (data / "ann").symlink_to(elsewhere / "ann")
    cuts, _ = prepared(data, tmp_path / "out")
    assert sorted(cuts) == ["ann-1", "bob-2", "cat-3"]
    assert {cut.supervisions[0].speaker for cut in cuts.values()} == {"ann", "bob", "cat"}


def test_intervals_of_a_textgrid_without_words_are_utterances_of_their_tiers_speaker(tmp_path):
    path = sound(tmp_path / "data/talk.wav", 6.0)
    tiers = {
        "ann": [Span("how are you", 0.0, 2.0), Span("good", 4.0, 5.0)],
        "bob": [Span("well", 2.0, 3.0)],
    }
    write_textgrid(path.with_suffix(".TextGrid"), tiers, 6.0)
    cuts, _ = prepared(tmp_path / "data", tmp_path / "out")
    found = {(c.supervisions[0].speaker, c.supervisions[0].text, c.start) for c in cuts.values()}
    assert found == {("ann", "how are you", 0.0), ("ann", "good", 4.0), ("bob", "well", 2.0)}


def test_words_of_several_speakers_tiers_are_an_utterance_of_each(tmp_path):
    path = sound(tmp_path / "data/talk.wav", 6.0)
    tiers = {
        "ann - words": [Span("how", 0.0, 1.0), Span("good", 4.0, 5.0)],
        "ann - phones": [Span("h", 0.0, 1.0)],
        "bob - words": [Span("well", 2.0, 3.0)],
        "cat - words": [Span("bye", 5.0, 5.5)],
    }
    write_textgrid(path.with_suffix(".TextGrid"), tiers, 6.0)
    cuts, _ = prepared(tmp_path / "data", tmp_path / "out")
    assert {cut.supervisions[0].speaker: words_of(cut) for cut in cuts.values()} == {
        "ann": [("how", 0.0, 1.0), ("good", 4.0, 5.0)],
        "bob": [("well", 2.0, 3.0)],
        "cat": [("bye", 5.0, 5.5)],
    }


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    data = tmp_path / "data"
    for name in ("a", "b", "c"):
        sound(data / f"{name}.wav").with_suffix(".txt").write_text("WORD")
    sound(data / "silent.wav")
    sound(data / "empty.wav").with_suffix(".txt").write_text(" \n")
    (data / "broken.wav").write_text("no audio")
    (data / "broken.txt").write_text("WORD")
    sound(data / "latin.wav").with_suffix(".txt").write_bytes("caf\xe9".encode("latin-1"))
    sound(data / "stereo.wav", channels=2).with_suffix(".txt").write_text("WORD")
    cuts, notes = prepared(data, tmp_path / "out")
    assert sorted(cuts) == ["a", "b", "c", "stereo"]
    for name, why in {
        "silent.wav": "no text beside it",
        "empty": "must have text",
        "broken": "cannot be read",
        "latin.wav": "latin.txt",
        "stereo": "2 channels, the first is used",
    }.items():
        assert any(note.startswith(name) and why in note for note in notes), (name, notes)


def test_data_without_a_usable_utterance_say_why(tmp_path):
    sound(tmp_path / "data/a.wav")
    with pytest.raises(CorpusError, match="no text beside it"):
        list(own_data.prepare_parts(tmp_path / "data", own_data.KNOWN_PARTS, tmp_path / "out"))


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_cuts_with_times_from_their_own_start_or_the_recordings(tmp_path, shift):
    recording = Recording.from_file(sound(tmp_path / "long.wav", 6.0))
    cuts = []
    for number in range(3):
        start = 1.0 + number
        times = AlignmentItem("WORD", 0.25 + (start if shift else 0.0), 0.5)
        item = SupervisionSegment(
            f"s{number}", recording.id, 0.0, 1.0, text="WORD", alignment={"word": [times]}
        )
        cuts.append(MonoCut(f"c{number}", start, 1.0, 0, supervisions=[item], recording=recording))
    CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    found, _ = prepared(tmp_path / "cuts.jsonl.gz", tmp_path / "out")
    assert sorted(found) == ["c0", "c1", "c2"]
    assert all(words_of(cut) == [("WORD", 0.25, 0.75)] for cut in found.values())
    assert [found[f"c{n}"].start for n in range(3)] == [1.0, 2.0, 3.0]


def test_a_given_division_stands(tmp_path):
    for part in ("train", "valid", "test"):
        sound(tmp_path / f"data/{part}/{part}.wav").with_suffix(".txt").write_text("WORD")
    prepared(tmp_path / "data", tmp_path / "out")
    assert [*CutSet.from_file(tmp_path / "out/dev/cuts.jsonl.gz").ids] == ["valid"]


def test_a_division_that_lacks_a_part_is_refused(tmp_path):
    sound(tmp_path / "data/train/a.wav").with_suffix(".txt").write_text("WORD")
    with pytest.raises(ValueError, match="dev and test"):
        own_data.present_parts(tmp_path / "data")


def utterance(number: int, speaker: str | None, recording: str, seconds: float = 1.0):
    return SupervisionSegment(f"u{number}", recording, 0.0, seconds, speaker=speaker)


def test_nobody_is_heard_in_two_parts():
    said = [utterance(n, f"speaker{n % 20}", f"r{n}") for n in range(200)]
    parts, kind = split_by_speaker(said)
    heard = [{one.speaker for one in parts[part]} for part in ("train", "dev", "test")]
    assert kind == "speakers"
    assert sum(map(len, heard)) == len(set.union(*heard)) == 20
    assert [len(parts[part]) for part in ("train", "dev", "test")] == [160, 20, 20]
    again, _ = split_by_speaker(said[::-1])
    assert {one.id for one in again["test"]} == {one.id for one in parts["test"]}


def test_an_utterance_without_a_speaker_does_not_part_the_others_from_theirs():
    said = [utterance(n, f"speaker{n % 5}", f"r{n}") for n in range(50)]
    parts, kind = split_by_speaker([*said, utterance(50, None, "r50")])
    heard = [{one.speaker for one in parts[part] if one.speaker} for part in parts]
    assert kind == "speakers"
    assert sum(map(len, heard)) == len(set.union(*heard)) == 5


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([utterance(n, "one", f"r{n}") for n in range(9)], "recordings"),
        ([utterance(n, None, f"r{n}") for n in range(9)], "recordings"),
        ([utterance(n, None, "r") for n in range(9)], "utterances"),
    ],
)
def test_few_speakers_are_divided_by_what_there_is(said, kind):
    parts, found = split_by_speaker(said)
    assert found == kind
    assert all(parts.values())


def test_too_few_utterances_are_refused():
    with pytest.raises(ValueError, match="three utterances or more"):
        split_by_speaker([utterance(0, "a", "r"), utterance(1, "b", "s")])
