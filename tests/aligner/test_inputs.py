"""What a user gives becomes utterances: ids, texts, channels; what cannot be used is named."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from espnet_ottc.aligner.inputs import Gathered, InputOptions, gather
from espnet_ottc.aligner.texts import keyed_texts
from espnet_ottc.alignment.formats import write_textgrid
from espnet_ottc.alignment.sound_files import AudioError, probe
from espnet_ottc.alignment.spans import Span


def _sound(path: Path, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros((1600, channels)), 16000)
    return path


def _gather(*inputs: object, **options: object) -> Gathered:
    return gather([str(one) for one in inputs], InputOptions(**options))  # type: ignore[arg-type]


def _texts(found: Gathered) -> dict[str, str | None]:
    return {one.id: one.text for one in found.utterances}


def test_ids_are_names_and_become_longer_where_two_are_the_same(tmp_path: Path) -> None:
    for name in ("a/x.wav", "b/x.wav", "c/y.wav", "c/y.flac", "c/my talk.wav"):
        _sound(tmp_path / name)
    found = _gather(*sorted(tmp_path.glob("*/*")))
    assert [one.id for one in found.utterances] == ["a/x", "b/x", "my talk", "y.flac", "y.wav"]
    _sound(tmp_path / "a" / "y.wav")
    found = _gather(*sorted(tmp_path.glob("*/y.*")))
    assert [one.id for one in found.utterances] == ["a/y", "c/y.flac", "c/y.wav"]
    folder = _gather(tmp_path)
    assert {one.id for one in folder.utterances} >= {"a/x", "b/x", "c/my talk"}


def test_folders_are_searched_in_depth_through_links_and_patterns_match(tmp_path: Path) -> None:
    _sound(tmp_path / "data" / "one" / "x.wav")
    _sound(tmp_path / "elsewhere" / "y.flac")
    (tmp_path / "data" / "notes.txt").write_text("no sound")
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "link")
    assert set(_texts(_gather(tmp_path / "data"))) == {"one/x", "link/y"}
    assert set(_texts(_gather(tmp_path / "data" / "*" / "*.wav"))) == {"x"}


def test_a_pattern_takes_sound_alone_unless_it_names_a_suffix(tmp_path: Path) -> None:
    _sound(tmp_path / "x.wav")
    (tmp_path / "x.txt").write_text("a b")
    for pattern in ("*", "x*", "x.*"):
        found = _gather(tmp_path / pattern)
        assert (_texts(found), found.failures) == ({"x": "a b"}, [])
    assert [one.recording.path for one in _gather(tmp_path / "*.txt").utterances] == [
        tmp_path / "x.txt"
    ]


def test_a_link_that_leads_nowhere_is_not_left_out(tmp_path: Path) -> None:
    _sound(tmp_path / "x.wav")
    for name in ("gone.wav", "x.txt"):
        (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    found = _gather(tmp_path)
    assert list(_texts(found)) == ["gone"]
    assert [one.id for one in found.failures] == ["x"]
    assert list(_texts(_gather(tmp_path / "gone.wav"))) == ["gone"]
    with pytest.raises(AudioError, match=r"it is a link to .*elsewhere, which is not there"):
        probe(tmp_path / "gone.wav")


def test_a_folder_that_links_to_itself_is_searched_once(tmp_path: Path) -> None:
    folder = tmp_path / "talks" / "a"
    folder.mkdir(parents=True)
    _sound(folder / "x.wav")
    (folder / "again").symlink_to(tmp_path / "talks")
    (folder / ".hidden.wav").write_bytes((folder / "x.wav").read_bytes())
    found = gather([str(tmp_path / "talks")], InputOptions())
    assert [one.recording.path for one in found.utterances] == [folder / "x.wav"]


def test_a_list_comes_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [_sound(tmp_path / name) for name in ("a b.wav", "c.wav")]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{paths[0]}\n\n{paths[1]}\r\n"))
    assert list(_texts(_gather("-"))) == ["a b", "c"]


def test_what_is_not_there_is_named_and_the_others_are_taken(tmp_path: Path) -> None:
    found = _gather(_sound(tmp_path / "x.wav"), tmp_path / "no.wav", tmp_path / "*.mp3")
    assert list(_texts(found)) == ["x"]
    assert [one.id for one in found.failures] == [
        str(tmp_path / "no.wav"),
        str(tmp_path / "*.mp3"),
    ]


def test_texts_lie_beside_recordings(tmp_path: Path) -> None:
    for name in ("t", "l", "s", "none", "out"):
        _sound(tmp_path / f"{name}.wav")
    (tmp_path / "t.txt").write_text("Hello,\n  world!\n")
    (tmp_path / "l.lab").write_text("LAB")
    (tmp_path / "s.srt").write_text(
        "1\n00:00:00,010 --> 00:00:00,030\none <i>two</i>\n\n2\n00:00:00,040 --> 00:00:00,050\nthree\n"
    )
    (tmp_path / "out.aligned.srt").write_text("1\n00:00:00,010 --> 00:00:00,030\nan old result\n")
    found = _gather(tmp_path)
    assert _texts(found) == {
        "t": "Hello, world!",
        "l": "LAB",
        "s-0001": "one two",
        "s-0002": "three",
        "none": None,
        "out": None,
    }
    (first,) = (one for one in found.utterances if one.id == "s-0001")
    assert (first.start, first.end, first.recording.id) == (0.01, 0.03, "s")
    assert set(_texts(_gather(tmp_path, recognise=True)).values()) == {None}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding_of_texts(tmp_path: Path, encoding: str) -> None:
    x, y = _sound(tmp_path / "x.wav"), _sound(tmp_path / "y.wav")
    cue = "1\r\n00:00:00,010 --> 00:00:00,030\r\nschön\r\n"
    for name, text in (("x.txt", "Grüß\r\nGott"), ("y.srt", cue), ("all", "x Grüß\ny schön\n")):
        (tmp_path / name).write_bytes(text.encode(encoding))
    assert _texts(_gather(x, y)) == {"x": "Grüß Gott", "y-0001": "schön"}
    assert _texts(_gather(x, y, text=tmp_path / "all")) == {"x": "Grüß", "y": "schön"}


def test_a_text_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    _sound(tmp_path / "x.wav")
    (tmp_path / "x.txt").write_bytes("one\nGrüß\n".encode("latin-1"))
    (failure,) = _gather(tmp_path).failures
    assert failure.reason.startswith(f"{tmp_path / 'x.txt'}:2: must be UTF-8 text")


def test_a_text_of_one_recording_and_texts_by_id_are_told_apart(tmp_path: Path) -> None:
    x, y = _sound(tmp_path / "x.wav"), _sound(tmp_path / "my talk.wav")
    (tmp_path / "text").write_text("x one two\nmy talk three\n")
    assert _texts(_gather(x, y, text=tmp_path / "text")) == {"x": "one two", "my talk": "three"}
    assert _texts(_gather(x, text=tmp_path / "text")) == {"x": "one two"}
    (tmp_path / "plain").write_text("hello there\nworld\n")
    assert _texts(_gather(x, text=tmp_path / "plain")) == {"x": "hello there world"}
    with pytest.raises(ValueError, match="must begin each line with an id"):
        _gather(x, y, text=tmp_path / "plain")
    (tmp_path / "half").write_text("x one\n")
    found = _gather(x, y, text=tmp_path / "half")
    assert [one.id for one in found.failures] == ["my talk"]


def test_a_text_that_is_called_as_its_recording_is_no_list(tmp_path: Path) -> None:
    recording = _sound(tmp_path / "hello.wav")
    (tmp_path / "hello.txt").write_text("hello world\n")
    assert _texts(_gather(recording, text=tmp_path / "hello.txt")) == {"hello": "hello world"}


def test_texts_of_sclite_are_taken_by_suffix_and_refused_under_another_name(
    tmp_path: Path,
) -> None:
    lines = "hello there (a)\nbye (b)\n"
    for name in ("texts.trn", "texts.txt", "texts.stm"):
        (tmp_path / name).write_text(lines)
    assert keyed_texts(tmp_path / "texts.trn", ["a", "b"]) == {"a": "hello there", "b": "bye"}
    with pytest.raises(ValueError, match=r"texts\.txt: .* call it \*\.trn"):
        keyed_texts(tmp_path / "texts.txt", ["a", "b"])
    with pytest.raises(ValueError, match=r"texts\.stm: an stm is not read as a text"):
        keyed_texts(tmp_path / "texts.stm", ["a", "b"])
    (tmp_path / "plain.txt").write_text("he left (in haste)\n")
    assert keyed_texts(tmp_path / "plain.txt", ["a"]) is None
    (tmp_path / "one.txt").write_text("a he left (laughs)\n")
    assert keyed_texts(tmp_path / "one.txt", ["a"]) == {"a": "he left (laughs)"}


@pytest.mark.parametrize(
    ("line", "suffix"),
    [("a 1 spk 0.0 1.5 <o,f0,male> hello there", "stm"), ("a 1 0.00 0.50 hello", "ctm")],
)
def test_columns_of_other_formats_are_not_taken_for_words(
    tmp_path: Path, line: str, suffix: str
) -> None:
    recording = _sound(tmp_path / "a.wav")
    (tmp_path / "texts").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=rf"texts: .* must be called \*\.{suffix}"):
        _gather(recording, text=tmp_path / "texts")
    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text(f"a {recording}\n")
    (kaldi / "text").write_text(f"{line}\n")
    with pytest.raises(ValueError, match=rf"text: .* must be called \*\.{suffix}"):
        _gather(kaldi)


def test_a_line_of_a_list_ends_at_its_end_alone(tmp_path: Path) -> None:
    recording = _sound(tmp_path / "x.wav")
    (tmp_path / "text").write_text("x one\u2028two\x0cthree\n", encoding="utf-8")
    assert _texts(_gather(recording, text=tmp_path / "text")) == {"x": "one\u2028two\x0cthree"}


def test_textgrids_are_texts_in_any_encoding(tmp_path: Path) -> None:
    recording = _sound(tmp_path / "x.wav")
    spans = [Span("caf\u00e9", 0.0, 0.01), Span("noir", 0.02, 0.05)]
    for name, tier in (("words", "words"), ("turns", "turns")):
        write_textgrid(tmp_path / "g.TextGrid", {tier: spans}, 0.1)
        path = tmp_path / f"{name}.TEXTGRID"
        path.write_bytes((tmp_path / "g.TextGrid").read_text(encoding="utf-8").encode("utf-16"))
    assert _texts(_gather(recording, text=tmp_path / "words.TEXTGRID")) == {"x": "caf\u00e9 noir"}
    found = _gather(recording, text=tmp_path / "turns.TEXTGRID").utterances
    assert [(one.text, one.start, one.end) for one in found] == [
        ("caf\u00e9", 0.0, 0.01),
        ("noir", 0.02, 0.05),
    ]
    with pytest.raises(ValueError, match="there is no tier 'no'; there are turns"):
        _gather(recording, text=tmp_path / "turns.TEXTGRID", tier="no")


def test_a_folder_of_texts_serves_a_folder_of_recordings(tmp_path: Path) -> None:
    for name in ("a/x.wav", "b/x.wav", "b/z.wav"):
        _sound(tmp_path / "audio" / name)
    for name, text in {"a/x.txt": "one", "b/x.txt": "two"}.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = _gather(tmp_path / "audio", text=tmp_path / "texts")
    assert _texts(found) == {"a/x": "one", "b/x": "two"}
    assert [one.id for one in found.failures] == ["b/z"]


def test_a_kaldi_directory_has_segments_with_their_texts(tmp_path: Path) -> None:
    _sound(tmp_path / "rec.wav")
    (tmp_path / "wav.scp").write_text("r rec.wav\np cat x.wav |\n")
    (tmp_path / "segments").write_text("r-1 r 0.01 0.03\nr-2 r 0.03 -1\nq-1 q 0 1\nr-3 r 0 x\n")
    with (tmp_path / "segments").open("a") as file:
        file.write("r-4 r -0.5 1\nr-5 r 1 1\nr-6 r nan 2\n")
    (tmp_path / "text").write_text("r-1 one\nr-2 two three\n")
    (tmp_path / "utt2spk").write_text("r-1 ann\n")
    found = _gather(tmp_path)
    assert [(one.id, one.start, one.end, one.text, one.speaker) for one in found.utterances] == [
        ("r-1", 0.01, 0.03, "one", "ann"),
        ("r-2", 0.03, None, "two three", ""),
    ]
    assert {one.id for one in found.failures} == {"p", "q-1", "r-3", "r-4", "r-5", "r-6"}
    assert all("must have" in one.reason for one in found.failures if one.id > "r")


def test_a_folder_of_texts_serves_a_kaldi_directory(tmp_path: Path) -> None:
    _sound(tmp_path / "rec.wav")
    (tmp_path / "wav.scp").write_text("r rec.wav\n")
    (tmp_path / "segments").write_text("r-1 r 0.01 0.03\nr-2 r 0.03 0.05\n")
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "r-1.txt").write_text("one")
    found = _gather(tmp_path, text=texts)
    assert _texts(found) == {"r-1": "one"}
    assert [(one.id, one.reason) for one in found.failures] == [
        ("r-2", f"there is no text of it in {texts}")
    ]


def test_cuts_keep_recording_place_and_channel_and_one_id_is_named(tmp_path: Path) -> None:
    path = _sound(tmp_path / "call.wav", channels=2)
    recording = Recording.from_file(path, recording_id="call")

    def cut(name: str, start: float, channel: int, *texts: str) -> MonoCut:
        supervisions = [
            SupervisionSegment(f"{name}-s{n}", "call", 0.01 * n, 0.01, channel, text=text)
            for n, text in enumerate(texts)
        ]
        return MonoCut(name, start, 0.04, channel, supervisions, recording=recording)

    cuts = [cut("a", 0.02, 1, "one"), cut("b", 0.0, 0, "two", "three"), cut("c", 0.01, 0)]
    manifest = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts(cuts).to_file(manifest)
    found = _gather(manifest)
    rows = [
        (one.id, one.recording.id, one.channel, round(one.start, 6), one.text)
        for one in found.utterances
    ]
    assert rows == [
        ("a", "call", 2, 0.02, "one"),
        ("b-s0", "call", 1, 0.0, "two"),
        ("b-s1", "call", 1, 0.01, "three"),
        ("c", "call", 1, 0.01, None),
    ]
    twice = _gather(manifest, manifest)
    assert len(twice.utterances) == 4
    assert {one.id for one in twice.failures} == {"a", "b-s0", "b-s1", "c"}
    assert twice.failures[0].reason == "another utterance has the id a"


def test_what_is_said_beyond_a_cut_ends_where_its_sound_does(tmp_path: Path) -> None:
    recording = Recording.from_file(_sound(tmp_path / "a.wav"), recording_id="a")
    spans = ((0.0, 0.02), (0.02, 0.02), (0.04, 0.02))
    whole = MonoCut(
        "a",
        0.0,
        0.06,
        0,
        [
            SupervisionSegment(f"a-{n}", "a", start, duration, text=f"t{n}")
            for n, (start, duration) in enumerate(spans)
        ],
        recording=recording,
    )
    cut = whole.truncate(offset=0.01, duration=0.04)
    expected = {
        # A file has what was said before its cut, and behind it.
        "plain": [(0.0, 0.02), (0.02, 0.04), (0.04, 0.06)],
        "padded": [(0.0, 0.01), (0.01, 0.03), (0.03, 0.045)],
    }
    for name, one in (("plain", cut), ("padded", cut.pad(duration=0.045))):
        manifest = tmp_path / f"{name}.jsonl.gz"
        CutSet.from_cuts([one]).to_file(manifest)
        found = _gather(manifest).utterances
        places = [(round(one.start, 6), round(one.end or 0.0, 6)) for one in found]
        assert places == expected[name], name


def test_each_channel_is_an_utterance(tmp_path: Path) -> None:
    found = _gather(_sound(tmp_path / "two.wav", 2), _sound(tmp_path / "one.wav"), channel="each")
    assert [(one.id, one.channel) for one in found.utterances] == [
        ("two-1", 1),
        ("two-2", 2),
        ("one", 1),
    ]
