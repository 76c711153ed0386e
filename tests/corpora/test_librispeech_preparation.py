"""LibriSpeech preparation: times relative to the cut, faults named, nothing half-written."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording, SupervisionSegment, load_manifest
from lhotse.supervision import AlignmentItem

from espnet_ottc.bin.prepare_corpus import main
from espnet_ottc.corpora.librispeech import cuts_of, manifest_paths, prepare_part
from espnet_ottc.corpora.manifests import (
    CorpusError,
    alignment_problems,
    cut_of,
    write_cuts,
)
from espnet_ottc.synthesis.layouts import LibriSpeechLayout
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance
from espnet_ottc.utils.files import written_aside

PART = "dev-clean"
DIGITS = Path(__file__).parents[3] / "shared" / "corpora" / "digits" / "LibriSpeech"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two speakers with three noise utterances each, and word times."""
    root = tmp_path / "corpus"
    draw = np.random.default_rng(2)
    words = (TimedSymbol("GO", 0.1, 0.4), TimedSymbol("HOME", 0.5, 0.9))
    for speaker in ("11", "12"):
        utterances = (
            Utterance(
                f"{speaker}-5-{number:04d}",
                Speaker(speaker, "M", "noise"),
                draw.uniform(-0.5, 0.5, 16000).astype(np.float32),
                16000,
                "GO HOME",
                words,
                (),
            )
            for number in range(3)
        )
        LibriSpeechLayout().write_session(root, PART, utterances)
    return root


def chapter(corpus: Path, name: str = "") -> Path:
    return corpus / PART / "11" / "5" / name


def replace_text(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def prepared(corpus: Path, out: Path) -> Iterator[object]:
    prepare_part(corpus, PART, out)
    return cuts_of(out, [PART])


def test_cuts_are_named_sorted_and_hold_the_words_of_their_text(
    corpus: Path, tmp_path: Path
) -> None:
    summary = prepare_part(corpus, PART, tmp_path / "manifests")
    assert (summary.utterances, summary.aligned) == (6, 6)
    assert summary.hours == pytest.approx(6 / 3600)
    done = write_cuts(cuts_of(tmp_path / "manifests", [PART]), tmp_path / PART, nj=2)
    assert (done.cuts, done.aligned, done.dropped_alignments) == (6, 6, ())
    cuts = list(CutSet.from_file(tmp_path / PART / "cuts.jsonl.gz"))
    assert [cut.id for cut in cuts] == [f"{s}-5-{n:04d}" for s in (11, 12) for n in range(3)]
    for cut in cuts:
        words = cut.supervisions[0].alignment["word"]
        assert [(item.symbol, item.start, item.end) for item in words] == [
            ("GO", 0.1, 0.4),
            ("HOME", 0.5, 0.9),
        ]
    text = (tmp_path / PART / "text").read_text().splitlines()
    assert text == [f"{cut.id} GO HOME" for cut in cuts]


def test_word_times_count_from_the_cut_and_not_from_the_recording() -> None:
    recording = Recording("r", [], 16000, 160000, 10.0, channel_ids=[0])
    items = [AlignmentItem("GO", 4.25, 0.5, 0.75), AlignmentItem("", 4.75, 0.25)]
    supervision = SupervisionSegment("u", "r", 4.0, 2.0, text="GO", alignment={"word": items})
    cut = cut_of(recording, supervision)
    assert (cut.id, cut.start, cut.duration) == ("u", 4.0, 2.0)
    assert cut.supervisions[0].start == 0.0
    assert cut.supervisions[0].alignment == {"word": [AlignmentItem("GO", 0.25, 0.5, 0.75)]}
    assert alignment_problems(cut) == []
    # The source is left as it was.
    assert supervision.alignment == {"word": items}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: chapter(c, "11-5-0001.flac").write_bytes(b"no"), "11-5-0001: must be readable"),
        (lambda c: chapter(c, "11-5-0001.flac").unlink(), "11-5-0001: must have audio at"),
        (
            lambda c: replace_text(chapter(c, "11-5.trans.txt"), "11-5-0001 GO HOME\n", ""),
            "11-5-0001: must have text in a",
        ),
        (
            lambda c: replace_text(chapter(c, "11-5.trans.txt"), "11-5-0001 GO HOME", "11-5-0001"),
            "11-5-0001: must have text in .*, got the id alone",
        ),
        (
            lambda c: replace_text(chapter(c, "11-5.trans.txt"), "0002 ", "0001 "),
            "11-5-0001: must occur once",
        ),
        (
            lambda c: replace_text(chapter(c, "11-5.trans.txt"), "11-5-0001", "\n11-5-0001"),
            r"11-5.trans.txt:2: must be '<id> <TEXT>'",
        ),
        (
            lambda c: replace_text(chapter(c, "11-5.alignment.txt"), '0001 ",GO', '0001 "GO'),
            "11-5-0001: alignment must have a time for each word",
        ),
        (
            lambda c: replace_text(chapter(c, "11-5.alignment.txt"), '0001 ",GO', '0001 ", GO'),
            "11-5-0001: alignment must have 3 fields",
        ),
        (
            lambda c: soundfile.write(chapter(c, "11-5-0001.flac"), np.zeros(800), 8000),
            "11-5-0001: .* 16000 Hz in one channel, got 800 samples at 8000 Hz",
        ),
    ],
)
def test_a_fault_of_the_files_is_named_before_any_manifest_is_written(
    corpus: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(corpus)
    with pytest.raises(CorpusError, match=message) as caught:
        prepare_part(corpus, PART, tmp_path / "manifests")
    assert {problem.where for problem in caught.value.problems} <= {
        "11-5-0001",
        "11-5-0002",
        f"{chapter(corpus, '11-5.trans.txt')}:2",
    }
    assert not (tmp_path / "manifests").exists()


def truncate(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def overwrite_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = b"\x55" * 300
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoil", [truncate, overwrite_middle])
def test_flac_that_breaks_after_its_header_is_named(
    corpus: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(chapter(corpus, "11-5-0002.flac"))
    cuts = prepared(corpus, tmp_path / "manifests")
    with pytest.raises(CorpusError) as caught:
        write_cuts(cuts, tmp_path / PART)  # type: ignore[arg-type]
    assert [problem.where for problem in caught.value.problems] == ["11-5-0002"]
    assert list((tmp_path / PART).iterdir()) == []


def test_every_problem_is_reported_and_not_only_the_first(corpus: Path, tmp_path: Path) -> None:
    chapter(corpus, "11-5-0000.flac").unlink()
    chapter(corpus, "11-5-0002.flac").write_bytes(b"")
    replace_text(chapter(corpus, "11-5.trans.txt"), "11-5-0001 GO HOME\n", "11-5-0001\n")
    with pytest.raises(CorpusError) as caught:
        prepare_part(corpus, PART, tmp_path)
    assert [problem.where for problem in caught.value.problems] == [
        f"11-5-{number:04d}" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0001 GO HOME", "0001 GO AWAY", "word 1 must be 'AWAY', got 'HOME'"),
        ("0001 GO HOME", "0001 GO", "1 words expected, got 2"),
    ],
)
def test_alignment_of_another_text_is_named_or_dropped_on_request(
    corpus: Path, tmp_path: Path, old: str, new: str, message: str
) -> None:
    replace_text(chapter(corpus, "11-5.trans.txt"), old, new)
    prepare_part(corpus, PART, tmp_path)
    with pytest.raises(CorpusError, match=f"11-5-0001: .*{message}"):
        write_cuts(cuts_of(tmp_path, [PART]), tmp_path / PART)
    done = write_cuts(cuts_of(tmp_path, [PART]), tmp_path / PART, drop_bad_alignments=True)
    assert (done.cuts, done.aligned) == (6, 5)
    assert [problem.where for problem in done.dropped_alignments] == ["11-5-0001"]
    cuts = CutSet.from_file(tmp_path / PART / "cuts.jsonl.gz")
    assert [c.id for c in cuts if not c.supervisions[0].alignment] == ["11-5-0001"]


@pytest.mark.parametrize(
    "times", ["0.4,0.1,0.5,0.9,1.0", "0.1,0.4,0.5,1.9,2.0", "0.1,0.1,0.5,0.9,1"]
)
def test_word_times_out_of_order_or_out_of_the_utterance_are_named(
    corpus: Path, tmp_path: Path, times: str
) -> None:
    alignment = chapter(corpus, "11-5.alignment.txt")
    lines = alignment.read_text().splitlines()
    lines[1] = f'11-5-0001 ",GO,,HOME," "{times}"'
    alignment.write_text("\n".join(lines) + "\n")
    prepare_part(corpus, PART, tmp_path)
    with pytest.raises(CorpusError, match="11-5-0001: alignment of word"):
        write_cuts(cuts_of(tmp_path, [PART]), tmp_path / PART)


def test_a_failing_set_leaves_the_cuts_of_an_earlier_run(corpus: Path, tmp_path: Path) -> None:
    prepare_part(corpus, PART, tmp_path)
    write_cuts(cuts_of(tmp_path, [PART]), tmp_path / PART)
    before = {path.name: path.read_bytes() for path in (tmp_path / PART).iterdir()}
    chapter(corpus, "11-5-0000.flac").unlink()
    with pytest.raises(CorpusError, match="11-5-0000"):
        write_cuts(cuts_of(tmp_path, [PART]), tmp_path / PART)
    assert {path.name: path.read_bytes() for path in (tmp_path / PART).iterdir()} == before


def test_an_utterance_twice_in_a_set_is_named(corpus: Path, tmp_path: Path) -> None:
    prepare_part(corpus, PART, tmp_path)
    with pytest.raises(CorpusError, match="12-5-0002: must occur once"):
        write_cuts(cuts_of(tmp_path, [PART, PART]), tmp_path / PART)


def test_a_set_without_utterances_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nobody: must have utterances"):
        write_cuts([], tmp_path / "nobody")


def test_without_alignment_files_there_are_cuts_without_times(corpus: Path, tmp_path: Path) -> None:
    chapter(corpus, "11-5.alignment.txt").unlink()
    assert prepare_part(corpus, PART, tmp_path).aligned == 3
    assert write_cuts(cuts_of(tmp_path, [PART]), tmp_path / PART).aligned == 3


def test_alignments_are_read_from_a_directory_of_their_own(corpus: Path, tmp_path: Path) -> None:
    for source in list(corpus.rglob("*.alignment.txt")):
        target = tmp_path / "ali" / "LibriSpeech" / source.relative_to(corpus)
        target.parent.mkdir(parents=True)
        source.rename(target)
    right = tmp_path / "ali" / "LibriSpeech"
    assert prepare_part(corpus, PART, tmp_path, alignments=right).aligned == 6
    with pytest.raises(FileNotFoundError, match="alignments of dev-clean must be at"):
        prepare_part(corpus, PART, tmp_path, alignments=tmp_path / "ali")


def test_a_part_may_have_a_name_of_its_own(corpus: Path, tmp_path: Path) -> None:
    (corpus / PART).rename(corpus / "mine")
    assert prepare_part(corpus, "mine", tmp_path).utterances == 6
    with pytest.raises(FileNotFoundError, match="must be a directory"):
        prepare_part(tmp_path / "nowhere", "mine", tmp_path)


def test_speakers_whose_folders_are_links_are_read_with_the_paths_of_the_corpus(
    corpus: Path, tmp_path: Path
) -> None:
    expected = [(cut.id, cut.supervisions[0].text) for cut in prepared(corpus, tmp_path / "plain")]
    elsewhere = tmp_path / "disk" / "twelve"
    elsewhere.parent.mkdir()
    (corpus / PART / "12").rename(elsewhere)
    (corpus / PART / "12").symlink_to(elsewhere)
    cuts = list(prepared(corpus, tmp_path / "linked"))
    assert [(cut.id, cut.supervisions[0].text) for cut in cuts] == expected
    assert all(cut.supervisions[0].alignment["word"] for cut in cuts)
    for cut in cuts:
        (source,) = cut.recording.sources
        assert source.source.startswith(f"{corpus}/{PART}/{cut.id.split('-')[0]}/")
        assert cut.load_audio().shape == (1, 16000)


def test_manifests_follow_a_changed_corpus(corpus: Path, tmp_path: Path) -> None:
    prepare_part(corpus, PART, tmp_path)
    chapter(corpus, "11-5-0001.flac").unlink()
    replace_text(chapter(corpus, "11-5.trans.txt"), "11-5-0001 GO HOME\n", "")
    prepare_part(corpus, PART, tmp_path)
    for path in manifest_paths(tmp_path, PART).values():
        assert "11-5-0001" not in [entry.id for entry in load_manifest(path)]


def test_aside_leaves_nothing_after_a_fault(tmp_path: Path) -> None:
    with (  # noqa: PT012
        pytest.raises(RuntimeError, match="disk"),
        written_aside(tmp_path / "a.jsonl.gz") as partial,
    ):
        partial.write_text("half")
        raise RuntimeError("disk")
    assert list(tmp_path.iterdir()) == []


def test_command_prepares_sets_of_several_parts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / PART / "12").rename(corpus / "12")
    (corpus / "test-clean").mkdir()
    (corpus / "12").rename(corpus / "test-clean" / "12")
    manifests, out = str(tmp_path / "manifests"), tmp_path / "data"
    assert main(["manifests", "--corpus", str(corpus), "--out", manifests]) == 0
    assert "absent from" in capsys.readouterr().out
    sets = ["both=dev-clean,test-clean", "test-clean"]
    assert main(["cuts", "--manifests", manifests, "--out", str(out), "--sets", *sets]) == 0
    assert len(CutSet.from_file(out / "both" / "cuts.jsonl.gz").to_eager()) == 6
    assert len(CutSet.from_file(out / "test-clean" / "cuts.jsonl.gz").to_eager()) == 3


def test_command_names_absent_parts_and_fails(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["manifests", "--corpus", str(corpus), "--out", str(tmp_path / "m"), "--parts"]
    assert main([*arguments, PART, "test-clean", "test-other"]) == 1
    error = capsys.readouterr().err
    assert "lacks the part(s) test-clean, test-other; it has dev-clean" in error
    assert not (tmp_path / "m").exists()


def test_command_names_missing_manifests_before_it_writes_a_set(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_part(corpus, PART, tmp_path)
    arguments = ["cuts", "--manifests", str(tmp_path), "--out", str(tmp_path / "data"), "--sets"]
    assert main([*arguments, PART, "test-clean"]) == 1
    assert "librispeech_recordings_test-clean.jsonl.gz" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("part", ["train-clean-100", "dev-clean", "test-clean"])
def test_real_digits_are_prepared_with_their_word_times(part: str, tmp_path: Path) -> None:
    if not DIGITS.is_dir():
        pytest.skip(f"the corpus of real digits is not at {DIGITS}")
    summary = prepare_part(DIGITS, part, tmp_path)
    assert summary.aligned == summary.utterances > 0
    done = write_cuts(cuts_of(tmp_path, [part]), tmp_path / part)
    assert done.cuts == done.aligned == summary.utterances
    cut = next(iter(CutSet.from_file(tmp_path / part / "cuts.jsonl.gz")))
    line = next(iter(sorted((DIGITS / part).rglob("*.alignment.txt")))).read_text().splitlines()[0]
    name, symbols, ends = line.replace('"', "").split(" ")
    assert name == cut.id
    expected = [
        (symbol, float(end))
        for symbol, end in zip(symbols.split(","), ends.split(","), strict=True)
    ]
    words = cut.supervisions[0].alignment["word"]
    assert [item.symbol for item in words] == [symbol for symbol, _ in expected if symbol]
    np.testing.assert_allclose(
        [item.end for item in words], [end for symbol, end in expected if symbol], atol=1e-6
    )


@pytest.mark.parametrize("name", ["11-5.trans.txt", "11-5.alignment.txt"])
def test_a_byte_that_is_no_utf8_is_named_with_file_and_line(
    corpus: Path, tmp_path: Path, name: str
) -> None:
    path = chapter(corpus, name)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b"GO", b"G\xd6") + b"".join(lines[2:]))
    with pytest.raises(CorpusError) as caught:
        prepare_part(corpus, PART, tmp_path / "out")
    assert list(map(str, caught.value.problems)) == [
        f"{path}:2: must be UTF-8 text, got the byte 0xD6"
    ]
