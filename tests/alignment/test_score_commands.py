"""The two scoring commands: what they print, write and refuse."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet_ottc.alignment import formats
from espnet_ottc.alignment.spans import Span
from espnet_ottc.bin import score_alignment, score_words

REFERENCE = {
    "u1": [Span("HELLO", 0.5, 0.9), Span("WORLD", 0.9, 1.5)],
    "u2": [Span("GOOD", 0.2, 0.5), Span("DAY", 0.6, 1.1)],
}
HYPOTHESIS = {
    "u1": [Span("HELLO", 0.52, 0.88, 0.5), Span("WORLD", 0.88, 1.49, 0.5)],
    "u2": [Span("GOOD", 0.45, 0.65, 0.5), Span("DAYS", 0.65, 1.05, 0.5)],
}


FOLDING = "AH0 ah\nAH1 ah\nSIL\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    formats.write_ctm(tmp_path / "ref.ctm", REFERENCE)
    formats.write_ctm(tmp_path / "hyp.ctm", HYPOTHESIS)
    for name, spans in HYPOTHESIS.items():
        formats.write_textgrid(tmp_path / "hyp" / f"{name}.TextGrid", {"words": spans}, 2.0)
    formats.write_supervisions(tmp_path / "hyp.jsonl.gz", HYPOTHESIS, {"u1": 2.0, "u2": 2.0})
    (tmp_path / "ref.txt").write_text("u1 HELLO WORLD\nu2 GOOD DAY\n")
    (tmp_path / "hyp.txt").write_text("u2 GOOD DAYS\nu1 hello WORLD\n")
    return tmp_path


def _words(folder: Path, *options: str, ref: str = "ref.txt", hyp: str = "hyp.txt") -> int:
    return score_words.main(["--ref", str(folder / ref), "--hyp", str(folder / hyp), *options])


def _times(folder: Path, *options: str, ref: str = "ref.ctm", hyp: str = "hyp.ctm") -> int:
    return score_alignment.main(["--ref", str(folder / ref), "--hyp", str(folder / hyp), *options])


def test_words_are_scored_printed_and_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _words(folder, "--json", str(folder / "out.json")) == 0
    header, words, letters = capsys.readouterr().out.splitlines()
    assert header.split()[:10] == "unit Snt Wrd Corr Sub Del Ins Err S.Err rate".split()  # noqa: SIM905
    assert words.split()[:10] == ["word", "2", "4", "2", "2", "0", "0", "2", "2", "50.00"]
    assert letters.split()[:9] == ["char", "2", "19", "14", "5", "0", "1", "6", "2"]
    scores = json.loads((folder / "out.json").read_text())
    assert scores["wer"] == 50
    assert scores["wer_interval"] == [50, 50]
    assert scores["wer_counts"]["substitutions"] == 2
    assert scores["cer"] == pytest.approx(100 * 6 / 19)


def test_case_can_be_ignored_and_words_skipped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _words(folder, "--ignore_case", "--skip", "DAY", "DAYS") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1:4] == ["2", "3", "3"]


@pytest.mark.parametrize("side", ["ref", "hyp"])
@pytest.mark.parametrize(("score", "suffix"), [(_words, "txt"), (_times, "ctm")])
def test_what_comes_from_a_pipe_is_scored_as_a_file_is(
    folder: Path, score: Callable[..., int], suffix: str, side: str
) -> None:
    assert score(folder, "--json", str(folder / "file.json")) == 0
    pipe = folder / f"pipe.{suffix}"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", folder / f"{side}.{suffix}", pipe]) as writing:
        given = {side: pipe.name}
        assert score(folder, "--json", str(folder / "pipe.json"), **given) == 0
        assert writing.wait() == 0
    of_file = json.loads((folder / "file.json").read_text())
    assert json.loads((folder / "pipe.json").read_text()) == {**of_file, side: str(pipe)}


@pytest.mark.parametrize("hyp", ["hyp.ctm", "hyp", "hyp.jsonl.gz"])
def test_words_of_files_of_times_are_scored_too(
    folder: Path, hyp: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _words(folder, hyp=hyp) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1:5] == ["2", "4", "3", "1"]


@pytest.mark.parametrize("hyp", ["hyp.ctm", "hyp", "hyp.jsonl.gz"])
def test_times_of_any_pair_of_kinds_are_scored(
    folder: Path, hyp: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _times(folder, "--json", str(folder / "out.json"), hyp=hyp) == 0
    printed = capsys.readouterr().out
    assert "2 of 4 and 4 words" in printed
    scores = json.loads((folder / "out.json").read_text())
    assert scores["start_f1"] == 50
    assert scores["strict_f1_20ms"] == 50
    assert scores["coverage"] == 75
    assert scores["boundary_mae_ms"] == pytest.approx(470 / 6)
    assert scores["idr"] == pytest.approx(100 * 1.0 / 1.8)
    assert scores["intervals"]["coverage"] == [50, 100]
    assert scores["settings"]["collar"] == 0.2


def test_the_collar_is_an_option(folder: Path) -> None:
    assert _times(folder, "--collar", "0.25", "--json", str(folder / "out.json")) == 0
    assert json.loads((folder / "out.json").read_text())["start_f1"] == 75


def test_peakiness_comes_from_frame_labels_and_durations(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "frames").write_text("u1 <blank> H E <space> W\nu2 G <blank> <space> D D\n")
    (folder / "utt2dur").write_text("u1 2.0\nu2 1.0\n")
    frames = ["--frames", str(folder / "frames")]
    durations = ["--durations", str(folder / "utt2dur")]
    assert _times(folder, *frames, *durations, "--json", str(folder / "out.json")) == 0
    scores = json.loads((folder / "out.json").read_text())
    # Silent: 1.0 of 2.0 s, and 0.3 of 1.0 s (the last word runs past the end).
    assert scores["peaky_raw"] == 40
    assert scores["silence"] == pytest.approx(100 * 1.3 / 3.0)
    assert scores["peaky"] == pytest.approx(40 - 100 * 1.3 / 3.0)
    assert (scores["special_frames"], scores["frames"]) == (4, 10)
    capsys.readouterr()
    assert _times(folder, *frames) == 0
    assert "frames: 4 special of 10" in capsys.readouterr().out
    (folder / "utt2dur").write_text("u1 2.0\n")
    assert _times(folder, *frames, *durations) == 1
    assert "error: u2: " in capsys.readouterr().err


@pytest.fixture
def phones(folder: Path) -> Path:
    """Phones with times, and a folding: of `a` and `b` to one class, of `q` to none."""
    (folder / "fold.txt").write_text("# a remark\nh# sil\n\nbcl sil\na a\nb a\nq\n")
    reference = [
        Span("h#", 0.0, 0.2),
        Span("a", 0.2, 0.5),
        Span("q", 0.5, 0.6),
        Span("bcl", 0.6, 1.0),
    ]
    hypothesis = [Span("bcl", 0.0, 0.2), Span("b", 0.2, 0.6), Span("h#", 0.6, 1.0)]
    formats.write_ctm(folder / "ref_phones.ctm", {"u1": reference})
    formats.write_ctm(folder / "hyp_phones.ctm", {"u1": hypothesis})
    (folder / "ref_phones.txt").write_text("u1 h# a q bcl c\n")
    (folder / "hyp_phones.txt").write_text("u1 bcl q b h# d q\n")
    return folder


def test_phones_are_scored_in_classes_and_those_without_class_on_neither_side(
    phones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = ["--fold", str(phones / "fold.txt"), "--json", str(phones / "out.json")]
    assert _words(phones, *fold, ref="ref_phones.txt", hyp="hyp_phones.txt") == 0
    _, line = capsys.readouterr().out.splitlines()
    # A symbol that the folding does not have, as `c`, stays what it is.
    assert line.split()[:8] == ["phone", "1", "4", "3", "1", "0", "0", "1"]
    scores = json.loads((phones / "out.json").read_text())
    assert (scores["unit"], scores["wer"], scores["settings"]["fold"]) == ("phone", 25, "fold.txt")
    assert "cer" not in scores
    assert _times(phones, *fold, ref="ref_phones.ctm", hyp="hyp_phones.ctm") == 0
    assert "3 of 3 phones" in capsys.readouterr().out
    scores = json.loads((phones / "out.json").read_text())
    assert (scores["unit"], scores["reference_words"], scores["coverage"]) == ("phone", 3, 100)
    assert scores["end_mae_ms"] == pytest.approx(100 / 3)
    assert scores["settings"]["fold"] == "fold.txt"


def test_equal_classes_side_by_side_are_not_merged(
    phones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (phones / "ref.txt").write_text("u1 h# bcl a b\n")
    (phones / "hyp.txt").write_text("u1 h# a\n")
    assert _words(phones, "--fold", str(phones / "fold.txt")) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:7] == [
        *("phone", "1", "4", "2", "0", "2", "0")
    ]


@pytest.mark.parametrize("line", ["a b c", "q sil", "q"])
@pytest.mark.parametrize("score", [_words, _times])
def test_a_malformed_folding_is_named_with_its_line(
    phones: Path, score: Callable[..., int], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = phones / "fold.txt"
    path.write_text(path.read_text() + f"{line}\n")
    assert score(phones, "--fold", str(path)) == 1
    assert f"fold.txt:8: must be a new phone and its class, got {line!r}" in capsys.readouterr().err


def test_an_absent_folding_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _words(folder, "--fold", str(folder / "nowhere")) == 1
    assert "nowhere" in capsys.readouterr().err


def test_times_of_special_labels_are_real_silence(phones: Path) -> None:
    """Four of five frames are on blank or silence; the reference is silent for 0.2 of 1 s."""
    (phones / "frames").write_text("u1 h# <blank> b h# h#\n")
    (phones / "utt2dur").write_text("u1 1.0\n")
    frames = ["--frames", str(phones / "frames"), "--durations", str(phones / "utt2dur")]
    options = [*frames, "--special", "<blank>", "h#", "--json", str(phones / "out.json")]
    assert _times(phones, *options, ref="ref_phones.ctm", hyp="hyp_phones.ctm") == 0
    scores = json.loads((phones / "out.json").read_text())
    assert scores["peaky_raw"] == 80
    assert scores["silence"] == pytest.approx(20)
    assert scores["peaky"] == pytest.approx(60)


def test_utterances_on_one_side_only_are_faults_until_allowed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "one.txt").write_text("u1 HELLO WORLD\nu9 WHAT\n")
    assert _words(folder, hyp="one.txt") == 1
    assert capsys.readouterr().err == "error: u2: 1 of 2 have no hypothesis\n"
    assert _words(folder, "--missing_is_empty", hyp="one.txt") == 1
    assert capsys.readouterr().err == "error: u9: 1 of 2 have no reference\n"
    assert _words(folder, "--missing_is_empty", "--ignore_extra", hyp="one.txt") == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1:7] == ["2", "4", "2", "0", "2", "0"]


def test_faults_of_the_input_end_with_status_1_and_write_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.ctm").write_text("u1 1 x 0.1 HELLO\n")
    assert _times(folder, "--json", str(folder / "out.json"), hyp="bad.ctm") == 1
    assert "error: u1: " in capsys.readouterr().err
    assert _times(folder, hyp="absent.ctm") == 1
    assert "absent.ctm" in capsys.readouterr().err
    assert _times(folder, hyp="hyp.txt") == 1
    assert "times are read from" in capsys.readouterr().err
    assert _times(folder, "--collar", "-1") == 1
    assert "collar must be" in capsys.readouterr().err
    assert not (folder / "out.json").exists()


def test_nothing_to_divide_by_is_null_in_json(folder: Path) -> None:
    (folder / "empty.txt").write_text("u1\n")
    out = ["--json", str(folder / "out.json")]
    assert _words(folder, *out, ref="empty.txt", hyp="empty.txt") == 0
    scores = json.loads((folder / "out.json").read_text())
    assert (scores["wer"], scores["wer_interval"]) == (None, None)


@pytest.mark.parametrize("name", ["score_words", "score_alignment"])
def test_the_commands_run_as_modules(name: str, folder: Path) -> None:
    command = [sys.executable, "-m", f"espnet_ottc.bin.{name}", "--ref", str(folder / "ref.ctm")]
    done = subprocess.run([*command, "--hyp", "absent.ctm"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "absent.ctm" in done.stderr


@pytest.mark.parametrize("score", [_words, _times])
def test_unknown_options_end_with_status_2(score: Callable[..., int], folder: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        score(folder, "--unknown", "1")
    assert stopped.value.code == 2


@pytest.mark.parametrize(
    ("dashed", "name"),
    [
        ("--ignore-case", "ignore_case"),
        ("--ignore-extra", "ignore_extra"),
        ("--missing-is-empty", "missing_is_empty"),
        ("--sclite-costs", "sclite_costs"),
    ],
)
def test_options_have_underscores_and_their_names_with_dashes_mean_the_same(
    dashed: str, name: str
) -> None:
    parser = score_words.parser()
    files = ["--ref", "a", "--hyp", "b"]
    assert vars(parser.parse_args([*files, dashed]))[name] is True
    assert parser.parse_args([*files, dashed]) == parser.parse_args([*files, f"--{name}"])
    assert vars(parser.parse_args(files))[name] is False
    assert f"--{name}" in parser.format_help()
    assert dashed not in parser.format_help()


def _imported(program: str) -> set[str]:
    """Names of the packages that some lines import."""
    lines = f"import sys\n{program}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", ["score_words", "score_alignment"])
def test_help_imports_no_other_package(name: str) -> None:
    program = (
        "from contextlib import suppress\n"
        f"from espnet_ottc.bin.{name} import main\n"
        "with suppress(SystemExit): main(['--help'])\n"
    )
    assert not _imported(program) & {
        *("torch", "torchaudio", "numpy", "lhotse", "praatio", "kaldialign", "tqdm", "espnet2"),
    }


def test_scoring_text_and_ctm_imports_neither_pytorch_nor_lhotse(folder: Path) -> None:
    files = {
        end: [str(folder / f"{side}.{end}") for side in ("ref", "hyp")] for end in ("txt", "ctm")
    }
    program = (
        "from espnet_ottc.bin import score_alignment, score_words\n"
        f"for command, (ref, hyp) in zip((score_words, score_alignment), {list(files.values())}):\n"
        "    assert command.main(['--ref', ref, '--hyp', hyp]) == 0\n"
    )
    assert not _imported(program) & {"torch", "torchaudio", "lhotse", "praatio", "espnet2"}


def test_the_room_knows_nothing_of_espnet() -> None:
    program = (
        "from espnet_ottc.alignment import aligners, formats, metrics, scoring, writing\n"
        "for name in ('transport', 'viterbi', 'torchaudio_ctc', 'k2_ctc'): aligners.make_aligner(name)\n"
    )
    assert not _imported(program) & {"espnet", "espnet2", "espnetez"}


def test_case_is_ignored_after_folding_and_silences_are_known_by_their_own_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "map").write_text(FOLDING)
    (tmp_path / "ref.txt").write_text("u1 AH0 B SIL\n")
    (tmp_path / "hyp.txt").write_text("u1 AH1 b SIL\n")
    fold = ("--fold", str(tmp_path / "map"), "--ignore_case")
    assert _words(tmp_path, *fold, "--json", str(tmp_path / "words.json")) == 0
    assert json.loads((tmp_path / "words.json").read_text())["wer"] == 0

    spans = [Span("AH0", 0.0, 0.5), Span("SIL", 0.5, 1.0)]
    formats.write_ctm(tmp_path / "ref.ctm", {"u1": spans})
    formats.write_ctm(tmp_path / "hyp.ctm", {"u1": [Span("AH1", 0.0, 0.5), *spans[1:]]})
    (tmp_path / "frames").write_text("u1 AH0 SIL\n")
    (tmp_path / "durations").write_text("u1 1.0\n")
    frames = ("--frames", str(tmp_path / "frames"), "--special", "SIL")
    frames += ("--durations", str(tmp_path / "durations"))
    out = tmp_path / "times.json"
    assert _times(tmp_path, *fold, *frames, "--json", str(out)) == 0
    found = json.loads(out.read_text())
    assert (found["silence"], found["peaky"]) == (50, 0)
    assert found["reference_words"] == found["matched_words"] == 1
