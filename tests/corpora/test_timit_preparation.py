"""TIMIT preparation: every phone where it is heard, copies of any shape, faults named."""

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, load_manifest
from lhotse.recipes import prepare_timit

from espnet_ottc.bin.prepare_corpus import main
from espnet_ottc.corpora.manifests import CorpusError, PartSummary, write_cuts
from espnet_ottc.corpora.timit import (
    KNOWN_PARTS,
    cuts_of,
    inputs,
    manifest_paths,
    part_of,
    prepare_parts,
    present_parts,
)
from espnet_ottc.synthesis.layout_timit import TimitLayout
from espnet_ottc.synthesis.utterance import Speaker, TimedSymbol, Utterance

RATE = 16000
# One speaker of each part, and one of the full test set who is in no part.
SPEAKERS = {
    "TRAIN": "TRAIN/DR1/FCJF0",
    "DEV": "TEST/DR1/FAKS0",
    "TEST": "TEST/DR8/MGRT0",
    None: "TEST/DR2/MABC9",
}
PHONES = (
    TimedSymbol("gcl", 0.2, 0.25),
    TimedSymbol("g", 0.25, 0.3),
    TimedSymbol("ow", 0.3, 0.5),
    TimedSymbol("q", 0.7, 0.75),
    TimedSymbol("aa", 0.75, 0.9),
    TimedSymbol("n", 0.9, 1.1),
)
TEXT = "h# gcl g ow pau q aa n h#"
WORDS = (TimedSymbol("GO", 0.2, 0.5), TimedSymbol("ON", 0.75, 1.1))


def planted(number: int) -> Utterance:
    """Loud noise in the first 20 ms of each phone, silence elsewhere."""
    samples = np.zeros(round(1.4 * RATE), np.float32)
    draw = np.random.default_rng(number)
    for phone in PHONES:
        start = round(phone.start * RATE)
        samples[start : start + 320] = draw.choice((-0.5, 0.5), 320)
    return Utterance(
        f"1-0-{number}", Speaker("1", "F", "noise"), samples, RATE, "GO ON", WORDS, PHONES
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five sentences a speaker: SX1, SI2, SA1, SA2, SX5."""
    root = tmp_path / "timit"
    for name in SPEAKERS.values():
        TimitLayout().write_session(root, name, map(planted, range(5)))
    return root


def sentence(corpus: Path, ending: str, part: str = "TRAIN") -> Path:
    return corpus / "data" / SPEAKERS[part] / f"SX1{ending}"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def prepare(corpus: Path, out: Path) -> list[PartSummary]:
    return list(prepare_parts(corpus, KNOWN_PARTS, out))


def check_all_is_there(corpus: Path, out: Path) -> None:
    for summary in prepare(corpus, out / "m"):
        assert (summary.utterances, summary.aligned, summary.notes) == (3, 3, ())
    done = write_cuts(cuts_of(out / "m", KNOWN_PARTS), out / "all")
    assert (done.cuts, done.aligned) == (9, 9)


def test_every_phone_is_heard_where_its_cut_says(corpus: Path, tmp_path: Path) -> None:
    check_all_is_there(corpus, tmp_path)
    for cut in CutSet.from_file(tmp_path / "all" / "cuts.jsonl.gz"):
        (supervision,) = cut.supervisions
        phones = supervision.alignment["phone"]
        assert supervision.text == " ".join(phone.symbol for phone in phones) == TEXT
        loud = np.flatnonzero(np.abs(cut.load_audio()[0]) > 0.25) / RATE
        for phone in phones:
            if phone.symbol not in ("h#", "pau"):
                first = loud[loud > phone.start - 0.01][0]
                assert first == pytest.approx(phone.start, abs=1e-4)
        assert all(a.end == pytest.approx(b.start) for a, b in pairwise(phones))
        assert (phones[0].start, phones[-1].end) == (0, pytest.approx(cut.duration))


def test_words_and_sentence_stand_beside_the_phones(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path)
    for cut in cuts_of(tmp_path, ["DEV"]):
        (supervision,) = cut.supervisions
        words = [(item.symbol, item.start, item.end) for item in supervision.alignment["word"]]
        assert words == [
            ("go", pytest.approx(0.2), pytest.approx(0.5)),
            ("on", pytest.approx(0.75), pytest.approx(1.1)),
        ]
        assert supervision.custom == {"sentence": "Go on."}


def test_parts_are_the_official_ones_without_the_dialect_sentences(
    corpus: Path, tmp_path: Path
) -> None:
    assert present_parts(corpus) == KNOWN_PARTS
    prepare(corpus, tmp_path)
    for part in KNOWN_PARTS:
        speaker = SPEAKERS[part].rpartition("/")[2]
        ids = [cut.id for cut in cuts_of(tmp_path, [part])]
        assert ids == [f"{speaker}-{name}" for name in ("SI2", "SX1", "SX5")]


def test_lhotse_alone_takes_the_dialect_sentences(corpus: Path) -> None:
    manifests = prepare_timit(corpus, num_phones=60)
    assert len(manifests["TRAIN"]["supervisions"]) == 5


def test_the_full_test_set_is_in_no_part() -> None:
    assert part_of("TEST", "MABC9") is None
    assert (part_of("TEST", "FAKS0"), part_of("TEST", "felc0")) == ("DEV", "TEST")
    assert part_of("TRAIN", "MABC9") == "TRAIN"


def test_manifests_name_files_of_the_corpus(corpus: Path, tmp_path: Path) -> None:
    prepare(corpus, tmp_path)
    recordings = load_manifest(manifest_paths(tmp_path, "TRAIN")["recordings"])
    assert recordings["FCJF0-SX1"].sources[0].source == str(sentence(corpus, ".WAV"))


def test_a_copy_without_data_works(corpus: Path, tmp_path: Path) -> None:
    for path in (corpus / "data").iterdir():
        path.rename(corpus / path.name)
    (corpus / "data").rmdir()
    check_all_is_there(corpus, tmp_path)


def test_a_copy_in_lower_case_works_and_has_the_same_ids(corpus: Path, tmp_path: Path) -> None:
    for path in sorted(corpus.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    check_all_is_there(corpus, tmp_path)
    assert next(iter(cuts_of(tmp_path / "m", ["TRAIN"]))).id == "FCJF0-SI2"


def test_second_recordings_beside_the_first_are_left_alone(corpus: Path, tmp_path: Path) -> None:
    for path in sorted(corpus.rglob("*.WAV")):
        path.with_name(f"{path.name}.wav").write_bytes(b"RIFF")
        path.with_name(f"._{path.name}").write_bytes(b"Mac")
    check_all_is_there(corpus, tmp_path)


def test_one_part_can_be_prepared_alone(corpus: Path, tmp_path: Path) -> None:
    sentence(corpus, ".WRD").unlink()  # a fault of another part
    shutil.rmtree(corpus / "data" / SPEAKERS["TEST"])
    (done,) = prepare_parts(corpus, ["DEV"], tmp_path)
    assert (done.part, done.utterances) == ("DEV", 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda c: sentence(c, ".WRD").unlink(),
            "TRAIN/DR1/FCJF0/SX1: must have .WAV .TXT .PHN .WRD, lacks .WRD",
        ),
        (
            lambda c: edit(sentence(c, ".PHN"), " ow", " oh"),
            "TRAIN/DR1/FCJF0/SX1.PHN:4: must be one of TIMIT's 61 phones, got 'oh'",
        ),
        (
            lambda c: edit(sentence(c, ".PHN"), "4000 4800", "4000 soon"),
            "TRAIN/DR1/FCJF0/SX1.PHN:3: must be '<start> <end> <symbol>' in samples",
        ),
        (
            lambda c: sentence(c, ".WRD").write_text("3200 8000 go on\n"),
            "TRAIN/DR1/FCJF0/SX1.WRD:1: must be '<start> <end> <symbol>' in samples",
        ),
        (
            lambda c: sentence(c, ".PHN").write_text(""),
            "TRAIN/DR1/FCJF0/SX1.PHN: must have lines, got none",
        ),
        (
            lambda c: soundfile.write(sentence(c, ".WAV"), np.zeros(800), 8000, format="NIST"),
            "SX1: must have samples at 16000 Hz in one channel, got 800 samples at 8000 Hz in 1",
        ),
        (
            lambda c: soundfile.write(sentence(c, ".WAV"), np.zeros((80, 2)), RATE, format="NIST"),
            "SX1: must have samples at 16000 Hz in one channel, got 80 samples at 16000 Hz in 2",
        ),
        (
            lambda c: sentence(c, ".WAV").write_bytes(b"no"),
            "SX1: must be readable NIST SPHERE or WAV",
        ),
    ],
)
def test_a_fault_of_the_files_is_named_before_any_manifest_is_written(
    corpus: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(corpus)
    with pytest.raises(CorpusError) as raised:
        prepare(corpus, tmp_path / "m")
    (problem,) = raised.value.problems
    assert message in str(problem)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("old", "new", "symbol"),
    [
        ("14400 17600 n", "14400 25600 n", "n"),  # beyond the end: 1.6 of 1.4 s
        ("4800 8000 ow", "4700 8000 ow", "ow"),  # over the phone before it
        ("12000 14400 aa", "12000 12000 aa", "aa"),
        ("12000 14400 aa", "14400 12000 aa", "aa"),
    ],
)
def test_phones_at_impossible_times_are_named_and_their_utterance_has_no_times(
    corpus: Path, tmp_path: Path, old: str, new: str, symbol: str
) -> None:
    edit(sentence(corpus, ".PHN"), old, new)
    (note,) = prepare(corpus, tmp_path / "m")[0].notes
    assert note.where == "FCJF0-SX1"
    assert f"({symbol}) must be in order, not empty and within" in note.message
    assert note.message.endswith(": no times")
    assert str(note) in manifest_paths(tmp_path / "m", "TRAIN")["notes"].read_text()
    done = write_cuts(cuts_of(tmp_path / "m", ["TRAIN"]), tmp_path / "train")
    assert (done.cuts, done.aligned) == (3, 2)
    assert f"FCJF0-SX1 {TEXT}\n" in (tmp_path / "train" / "text").read_text()


def test_what_timit_has_not_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="parts TRAIN, DEV, TEST, got dev"):
        next(prepare_parts(corpus, ["dev"], tmp_path / "m"))
    with pytest.raises(ValueError, match=r"times are in its \.PHN and \.WRD"):
        next(prepare_parts(corpus, ["DEV"], tmp_path / "m", alignments=tmp_path))


def test_what_is_absent_is_said(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the corpus must be a directory"):
        present_parts(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"or data/ with them; got no sentence"):
        present_parts(tmp_path / "empty")
    (corpus / "data/TEST/DR1").rename(tmp_path / "away")
    assert present_parts(corpus) == ("TRAIN", "TEST")
    with pytest.raises(FileNotFoundError, match="has no sentences of DEV"):
        prepare(corpus, tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="manifests must be prepared first"):
        cuts_of(tmp_path / "m", ["TRAIN"])


def test_the_command_prepares_it_from_a_relative_path(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(corpus.parent)
    words = ["--layout", "timit", "manifests", "--corpus", corpus.name, "--out", "m"]
    assert main(words) == 0
    assert inputs(Path(corpus.name), ["DEV"]) == (Path(corpus.name),)
    monkeypatch.chdir("/")
    cuts = ["--layout", "timit", "cuts", "--manifests", str(tmp_path / "m")]
    assert main([*cuts, "--out", str(tmp_path / "d"), "--sets", *KNOWN_PARTS]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("TRAIN: 3 utterances")
    assert printed[-1].startswith("TEST: 3 cuts")


@pytest.mark.parametrize("ending", [".TXT", ".WRD"])
def test_a_byte_that_is_no_utf8_is_named_with_file_and_line(
    corpus: Path, tmp_path: Path, ending: str
) -> None:
    path = sentence(corpus, ending)
    lines = path.read_bytes().splitlines()
    lines[-1] += b"\xe9"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(CorpusError) as caught:
        prepare(corpus, tmp_path)
    assert list(map(str, caught.value.problems)) == [
        f"{path}:{len(lines)}: must be UTF-8 text, got the byte 0xE9"
    ]
