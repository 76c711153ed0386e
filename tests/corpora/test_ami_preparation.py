"""AMI preparation: every word where it is heard in its cut, quirks of the annotation named."""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, SupervisionSegment
from lhotse.recipes import prepare_ami
from lhotse.supervision import AlignmentItem

from espnet_ottc.corpora.ami import (
    ANNOTATIONS,
    KNOWN_PARTS,
    amend,
    cuts_of,
    manifest_paths,
    prepare_parts,
    why_left_out,
)
from espnet_ottc.corpora.ami_annotation import Participant, SaidWord, read_participants
from espnet_ottc.corpora.manifests import (
    CorpusError,
    PartSummary,
    alignment_problems,
    write_cuts,
)
from espnet_ottc.synthesis.layout_ami import AmiLayout, Headset, turn_starts
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance

MEETINGS = {"train": "ES2002a", "dev": "ES2011a", "test": "ES2004a"}
RATE = 16000
WORDS = (
    TimedSymbol("WELL", 0.2503, 0.5),
    TimedSymbol("UM", 0.5, 0.9),
    TimedSymbol("NO", 1.2, 1.4),
)


def bursts(words: tuple[TimedSymbol, ...], seconds: float) -> np.ndarray:
    """Loud noise in the first 50 ms of each word, silence elsewhere."""
    samples = np.zeros(round(seconds * RATE), np.float32)
    draw = np.random.default_rng(1)
    for word in words:
        start = round(word.start * RATE)
        samples[start : start + 800] = draw.choice((-0.5, 0.5), 800)
    return samples


def planted(speaker: str, number: int) -> Utterance:
    name = f"{speaker}-0-{number}"
    who = Speaker(speaker, "F", "bursts")
    return Utterance(name, who, bursts(WORDS, 1.6), RATE, "WELL UM NO", WORDS, ())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A meeting of each part; in each, two headsets with two utterances of three words."""
    root = tmp_path / "ami"
    layout = AmiLayout()
    sessions = [
        layout.write_session(
            root,
            f"{meeting}.Headset-{number}",
            (planted(f"{place}{number}", turn) for turn in range(2)),
        )
        for place, meeting in enumerate(MEETINGS.values())
        for number in range(2)
    ]
    layout.write_tables(root, sessions)
    return root


def words_file(corpus: Path, agent: str = "A") -> Path:
    return corpus / ANNOTATIONS / "words" / f"ES2002a.{agent}.words.xml"


def edit(path: Path, change: Callable[[ET.Element], object]) -> None:
    tree = ET.parse(path)
    change(tree.getroot())
    tree.write(path)


def prepare(corpus: Path, out: Path) -> list[PartSummary]:
    return list(prepare_parts(corpus, KNOWN_PARTS, out))


def notes_of(corpus: Path, out: Path) -> list[str]:
    return [str(note) for note in prepare(corpus, out)[0].notes]


def train_cuts(out: Path) -> dict[str, object]:
    return {cut.id: cut for cut in cuts_of(out, ["train"])}


def test_every_word_is_heard_where_its_cut_says(corpus: Path, tmp_path: Path) -> None:
    summaries = prepare(corpus, tmp_path / "m")
    assert [(one.part, one.utterances, one.aligned, one.notes) for one in summaries] == [
        (part, 4, 4, ()) for part in KNOWN_PARTS
    ]
    done = write_cuts(cuts_of(tmp_path / "m", KNOWN_PARTS), tmp_path / "all")
    assert (done.cuts, done.aligned) == (12, 12)
    for cut in CutSet.from_file(tmp_path / "all" / "cuts.jsonl.gz"):
        words = cut.supervisions[0].alignment["word"]
        assert [item.symbol for item in words] == cut.supervisions[0].text.split()
        samples = np.abs(cut.load_audio()[0])
        # Other headsets are heard at 3 % of their level.
        loud = np.flatnonzero(samples > 0.25) / RATE
        for item in words:
            first = loud[loud > item.start - 0.02][0]
            assert first == pytest.approx(item.start, abs=1e-3)
        # The cut starts with its first word, and the times with it.
        assert words[0].start == pytest.approx(0, abs=1e-6)
        assert words[-1].end == pytest.approx(cut.duration, abs=1e-3)
        assert cut.start > 2


def test_lhotse_alone_leaves_word_times_in_the_meeting(corpus: Path) -> None:
    manifests = prepare_ami(corpus, mic="ihm", partition="full-corpus-asr")["train"]
    cut = next(iter(CutSet.from_manifests(**manifests).trim_to_supervisions()))
    assert cut.supervisions[0].start == 0
    assert cut.supervisions[0].alignment["word"][0].start > 2


def test_a_meeting_whose_folder_is_a_link_is_read_with_the_paths_of_the_corpus(
    corpus: Path, tmp_path: Path
) -> None:
    meeting = corpus / "wav_db" / MEETINGS["train"]
    elsewhere = tmp_path / "disk" / "meeting"
    elsewhere.parent.mkdir()
    meeting.rename(elsewhere)
    meeting.symlink_to(elsewhere)
    (train, _, _) = prepare(corpus, tmp_path / "m")
    assert (train.utterances, train.aligned, train.notes) == (4, 4, ())
    for cut in train_cuts(tmp_path / "m").values():
        sources = [Path(one.source) for one in cut.recording.sources]
        assert all(meeting in path.parents for path in sources)
        assert cut.load_audio().shape[0] == 1


def test_the_parts_are_those_of_the_official_division(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path)
    for part, meeting in MEETINGS.items():
        cuts = list(cuts_of(tmp_path, [part]))
        assert {cut.recording_id for cut in cuts} == {meeting}
        assert [cut.id for cut in cuts] == sorted(cut.id for cut in cuts)


def test_each_headset_has_its_own_speakers_words(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path)
    for cut in cuts_of(tmp_path, ["train"]):
        assert cut.supervisions[0].speaker == f"FEE0{cut.channel}"
        samples = cut.load_audio()[0]
        assert np.abs(samples).max() > 0.4


def test_hesitations_stay_and_punctuation_goes(corpus: Path, tmp_path: Path) -> None:
    assert ">um<" in words_file(corpus).read_text()
    assert ">,<" in words_file(corpus).read_text()
    prepare(corpus, tmp_path)
    assert {cut.supervisions[0].text for cut in cuts_of(tmp_path, KNOWN_PARTS)} == {"WELL UM NO"}


def test_overlapping_speech_is_in_the_cuts_of_both_speakers(corpus: Path, tmp_path: Path) -> None:
    """The second headset's turns are moved onto the first's."""
    prepare(corpus, tmp_path / "before")
    first = train_cuts(tmp_path / "before")["ES2002a-0-0"]
    second = train_cuts(tmp_path / "before")["ES2002a-1-0"]
    by = first.start - second.start + 0.3  # type: ignore[attr-defined]

    def move(root: ET.Element) -> None:
        for element in root:
            for name in ("starttime", "endtime", "transcriber_start", "transcriber_end"):
                if name in element.attrib:
                    element.set(name, f"{float(element.attrib[name]) + by:.3f}")

    edit(words_file(corpus, "B"), move)
    edit(corpus / ANNOTATIONS / "segments" / "ES2002a.B.segments.xml", move)
    assert notes_of(corpus, tmp_path / "after") == []
    moved = train_cuts(tmp_path / "after")
    assert moved["ES2002a-1-0"].start == pytest.approx(first.start + 0.3, abs=1e-3)  # type: ignore[attr-defined]
    for name in ("ES2002a-0-0", "ES2002a-1-0"):
        assert moved[name].supervisions[0].text == "WELL UM NO"  # type: ignore[attr-defined]
        assert alignment_problems(moved[name]) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("times", ["none", "zero"])
def test_a_word_without_duration_is_put_back_and_named(
    corpus: Path, tmp_path: Path, times: str
) -> None:
    def spoil(root: ET.Element) -> None:
        word = next(word for word in root if word.text == "um")
        if times == "none":
            del word.attrib["starttime"], word.attrib["endtime"]
        else:
            word.set("endtime", word.attrib["starttime"])

    edit(words_file(corpus), spoil)
    assert notes_of(corpus, tmp_path) == [
        "ES2002a-0-0: has words without duration, ['UM']: put into the text, no word times"
    ]
    cut = train_cuts(tmp_path)["ES2002a-0-0"]
    assert cut.supervisions[0].text == "WELL UM NO"  # type: ignore[attr-defined]
    assert not cut.supervisions[0].alignment  # type: ignore[attr-defined]
    assert "UM" in manifest_paths(tmp_path, "train")["notes"].read_text()


def test_one_time_for_several_words_is_divided_by_their_letters(
    corpus: Path, tmp_path: Path
) -> None:
    def rename(root: ET.Element) -> None:
        next(word for word in root if word.text == "um").text = "forty-five-L_"

    edit(words_file(corpus), rename)
    assert notes_of(corpus, tmp_path) == [
        "ES2002a-0-0: 'FORTY FIVE L' has one time: divided by letters"
    ]
    cut = train_cuts(tmp_path)["ES2002a-0-0"]
    assert alignment_problems(cut) == []  # type: ignore[arg-type]
    items = cut.supervisions[0].alignment["word"][1:4]  # type: ignore[attr-defined]
    # UM took 0.4 s: 0.2 s for 5 letters, 0.16 s for 4, 0.04 s for 1.
    assert [(item.symbol, item.start, item.duration) for item in items] == [
        ("FORTY", pytest.approx(0.25), pytest.approx(0.2)),
        ("FIVE", pytest.approx(0.45), pytest.approx(0.16)),
        ("L", pytest.approx(0.61), pytest.approx(0.04)),
    ]


def test_what_is_no_word_leaves_no_trace(corpus: Path, tmp_path: Path) -> None:
    def laugh(root: ET.Element) -> None:
        start = {"starttime": root[1].attrib["starttime"], "endtime": root[1].attrib["endtime"]}
        root.insert(2, ET.Element("vocalsound", {"type": "laugh", **start}))
        root.insert(2, ET.Element("disfmarker", {}))

    edit(words_file(corpus), laugh)
    assert notes_of(corpus, tmp_path) == []
    cut = train_cuts(tmp_path)["ES2002a-0-0"]
    assert cut.supervisions[0].text == "WELL UM NO"  # type: ignore[attr-defined]


def test_an_utterance_without_text_is_named_and_left_out(corpus: Path, tmp_path: Path) -> None:
    def only_marks(root: ET.Element) -> None:
        for word in list(root)[:5]:
            if word.text != ".":
                word.text = "@"

    edit(words_file(corpus), only_marks)
    assert notes_of(corpus, tmp_path) == ["ES2002a-0-0: has no text: left out"]
    assert sorted(train_cuts(tmp_path)) == ["ES2002a-0-1", "ES2002a-1-0", "ES2002a-1-1"]


def test_words_outside_all_segments_and_after_the_end_are_named(
    corpus: Path, tmp_path: Path
) -> None:
    def add(root: ET.Element) -> None:
        for text, start in (("lost", 0.5), ("late", 999.0)):
            times = {"starttime": f"{start}", "endtime": f"{start + 0.1}"}
            ET.SubElement(root, "w", times).text = text

    edit(words_file(corpus), add)
    assert notes_of(corpus, tmp_path) == [
        "ES2002a.A: in no segment, left out: 2 word(s), LOST LATE",
        "ES2002a.A: after the recording's end, left out: 1 word(s), LATE",
    ]
    assert len(train_cuts(tmp_path)) == 4


def test_headsets_of_different_length_give_the_cuts_that_all_have(
    corpus: Path, tmp_path: Path
) -> None:
    path = Headset("ES2002a", 1).audio(corpus)
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[: round(samples.size * 0.7)], rate, "PCM_16")
    notes = notes_of(corpus, tmp_path / "m")
    assert any("after the recording's end" in note for note in notes)
    done = write_cuts(cuts_of(tmp_path / "m", ["train"]), tmp_path / "train")
    assert 0 < done.cuts < 4


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda c: Headset("ES2002a", 0).audio(c).unlink(),
            r"ES2002a: headsets must be numbered from 0 .* got ES2002a.Headset-1.wav",
        ),
        (
            lambda c: soundfile.write(Headset("ES2002a", 0).audio(c), np.zeros(800), 8000),
            "ES2002a.Headset-0.wav: must have samples at 16000 Hz, got 800 samples at 8000",
        ),
        (
            lambda c: Headset("ES2002a", 0).audio(c).write_bytes(b"no"),
            "ES2002a.Headset-0.wav: must be readable WAV",
        ),
        (lambda c: words_file(c).unlink(), "ES2002a.A.words.xml: must be readable XML"),
        (lambda c: words_file(c).write_text("<x>"), "ES2002a.A.words.xml: must be readable XML"),
        (
            lambda c: edit(words_file(c), lambda root: root[0].attrib.pop("endtime")),
            "ES2002a.A.words.xml: a timed word must end and have text",
        ),
        (
            lambda c: edit(words_file(c), lambda root: root[0].set("endtime", "soon")),
            "ES2002a.A.words.xml: times must be in seconds",
        ),
    ],
)
def test_a_fault_of_the_files_is_named_before_any_manifest_is_written(
    corpus: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(corpus)
    with pytest.raises(CorpusError, match=message):
        prepare(corpus, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_last_headset_that_is_missing_is_named_and_shifts_nobody(
    corpus: Path, tmp_path: Path
) -> None:
    Headset("ES2002a", 1).audio(corpus).unlink()
    assert notes_of(corpus, tmp_path) == [
        "ES2002a.B: there is no Headset-1: all words are left out"
    ]
    assert {cut.supervisions[0].speaker for cut in cuts_of(tmp_path, ["train"])} == {"FEE00"}


def test_a_headset_without_annotation_is_named(corpus: Path, tmp_path: Path) -> None:
    for kind in ("words", "segments"):
        Headset("ES2002a", 1).annotation(corpus, kind).unlink()
    assert notes_of(corpus, tmp_path) == ["ES2002a.Headset-1.wav: nobody's words are annotated"]


def test_a_stereo_recording_is_named_where_lhotse_leaves_the_meeting_out(
    corpus: Path, tmp_path: Path
) -> None:
    layout = AmiLayout()
    layout.write_session(corpus, "ES2005a.Headset-0", [planted("9", 0)])
    path = Headset("ES2005a", 0).audio(corpus)
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.stack([samples, samples], 1), rate)
    assert [re.sub(":.*", "", note) for note in notes_of(corpus, tmp_path)] == ["ES2005a"]


def test_words_that_overlap_are_named_and_the_utterance_has_no_times(
    corpus: Path, tmp_path: Path
) -> None:
    def overlap(root: ET.Element) -> None:
        root[1].set("starttime", f"{float(root[1].attrib['starttime']) - 0.1:.3f}")

    edit(words_file(corpus), overlap)
    (note,) = notes_of(corpus, tmp_path / "m")
    assert note.startswith("ES2002a-0-0: alignment of word 1 (UM) must be in order")
    assert note.endswith(": no word times")
    done = write_cuts(cuts_of(tmp_path / "m", ["train"]), tmp_path / "train")
    assert (done.cuts, done.aligned) == (4, 3)


def test_what_ami_has_not_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parts train, dev, test, got train-clean-100"):
        next(prepare_parts(corpus, ["train-clean-100"], tmp_path / "m"))
    with pytest.raises(ValueError, match="word times are in its annotation"):
        next(prepare_parts(corpus, ["train"], tmp_path / "m", alignments=tmp_path))


def test_what_is_absent_is_said_with_the_way_out(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the corpus must be a directory"):
        prepare(tmp_path / "nowhere", tmp_path / "m")
    (corpus / ANNOTATIONS).rename(corpus / "away")
    with pytest.raises(FileNotFoundError, match="annotation must be unpacked"):
        prepare(corpus, tmp_path / "m")
    (corpus / f"{ANNOTATIONS}.zip").touch()
    with pytest.raises(FileNotFoundError, match=f"unzip -d {corpus / ANNOTATIONS}"):
        prepare(corpus, tmp_path / "m")
    (corpus / "away").rename(corpus / ANNOTATIONS)
    (corpus / "wav_db" / "ES2011a").rename(corpus / "wav_db" / "ES9999a")
    with pytest.raises(FileNotFoundError, match="of a meeting of dev"):
        prepare(corpus, tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="manifests must be prepared first"):
        cuts_of(tmp_path / "m", ["train"])


def test_the_annotation_is_read_as_written(corpus: Path) -> None:
    participants, problems = read_participants(corpus / ANNOTATIONS)
    assert problems == []
    first = next(one for one in participants if one.meeting == "ES2002a")
    turn = next(turn_starts("ES2002a"))
    assert (first.agent, first.channel, first.turns[0]) == ("A", 0, (turn, turn + 1.6))
    times = [(word.text, word.start - turn, word.end - turn) for word in first.words[:3]]
    assert times == [
        (word.symbol, pytest.approx(word.start, abs=6e-4), pytest.approx(word.end, abs=6e-4))
        for word in WORDS
    ]


def test_times_rounded_across_each_other_are_put_in_order() -> None:
    words = (SaidWord("A", 4.00004, 4.1), SaidWord("B", 4.1, 4.2))
    participant = Participant("m", "A", 0, words, ((4.0, 5.0),))
    items = [AlignmentItem("A", 4.00004, 0.1), AlignmentItem("B", 4.1, 0.1)]
    segment = SupervisionSegment("u", "m", 4.0001, 0.2, text="A B", alignment={"word": items})
    amended, notes = amend(segment, participant)
    assert notes == []
    assert amended is not None
    first, second = amended.alignment["word"]
    assert first.start == 4.0001
    assert first.end <= second.start
    assert second.end == pytest.approx(4.2)
    assert segment.alignment == {"word": items}


def test_another_segment_across_an_utterance_is_named_and_changes_nothing() -> None:
    words = (SaidWord("A", 1.0, 2.0), SaidWord("NO", math.nan, math.nan), SaidWord("B", 2.0, 3.0))
    participant = Participant("m", "A", 0, (*words, SaidWord("C", 1.2, 1.4)), ((0.0, 4.0),))
    items = [AlignmentItem("A", 1.0, 1.0), AlignmentItem("B", 2.0, 1.0)]
    segment = SupervisionSegment("u", "m", 1.0, 2.0, text="A B", alignment={"word": items})
    amended, notes = amend(segment, participant)
    assert [str(note) for note in notes] == ["u: other segments overlap it, and say 'A NO B C'"]
    assert amended == segment


def test_why_lhotse_leaves_a_meeting_out_is_said(tmp_path: Path) -> None:
    paths = [tmp_path / f"ES2002a.Headset-{number}.wav" for number in range(2)]
    for path, seconds, channels in zip(paths, (10, 4), (1, 1), strict=True):
        soundfile.write(path, np.zeros((16000 * seconds, channels)), 16000)
    assert why_left_out(paths) == (
        "ES2002a.Headset-1.wav lasts 4.0 s, and other headsets up to 10.0 s"
    )
    soundfile.write(paths[1], np.zeros((16000 * 10, 2)), 16000)
    assert why_left_out(paths) == "ES2002a.Headset-1.wav must have one channel"
    assert why_left_out(paths[:1]) == "no words are annotated"
