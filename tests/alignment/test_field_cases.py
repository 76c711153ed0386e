"""Scorers and readers on files from the field: each case with the value that is right."""

import codecs
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from lhotse import CutSet, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

from espnet_ottc.aligner.texts import read_passages
from espnet_ottc.alignment.formats import (
    read_ctm,
    read_spans,
    read_stm,
    read_text,
    read_textgrid,
    read_trn,
    write_textgrid,
)
from espnet_ottc.alignment.metrics import edit_distance
from espnet_ottc.alignment.metrics.words import count_errors
from espnet_ottc.alignment.scoring import (
    TimesScoringOptions,
    WordScoringOptions,
    read_glm,
    score_time_files,
    score_times,
    score_word_files,
    score_words,
)
from espnet_ottc.alignment.spans import Span
from espnet_ottc.bin import score_alignment
from espnet_ottc.bin import score_words as score_words_command
from espnet_ottc.utils.encodings import encoding_of


def wer(ref: Path, hyp: Path, **options: object) -> float | None:
    return score_word_files(ref, hyp, WordScoringOptions(**options)).words.percent  # type: ignore[arg-type]


# Words are matched by their times too.


def test_of_two_equal_words_the_one_at_the_hypothesis_time_is_matched() -> None:
    reference = {"u": [Span("YES", 1.0, 1.5), Span("YES", 5.0, 5.5)]}
    row = score_times(reference, {"u": [Span("YES", 5.0, 5.5)]}).scores.as_row()
    assert row["boundary_mae_ms"] == 0
    assert row["start_f1"] == pytest.approx(100 * 2 / 3)


def test_times_never_cost_a_match() -> None:
    words = [Span(word, 1.0 * place, 1.0 * place + 0.9) for place, word in enumerate("ABCAB")]
    late = [Span(span.symbol, span.start + 100, span.end + 100) for span in words[1:]]
    assert score_times({"u": words}, {"u": late}).scores.matched == 4


# Bounded memory.


def test_an_hour_in_one_utterance_takes_bounded_memory() -> None:
    code = """
import random, resource
from espnet_ottc.alignment.scoring import WordScoringOptions, score_words
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
draw = random.Random(0)
words = [f"w{draw.randrange(2000)}" for _ in range(9000)]
heard = [word for place, word in enumerate(words) if place % 10]
report = score_words({"u": words}, {"u": heard}, WordScoringOptions(characters=False))
print(report.words.counts.deletions, report.words.counts.errors)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["900", "900"], done.stderr


@pytest.mark.parametrize("sclite_costs", [False, True])
def test_a_table_in_parts_counts_as_many_errors_as_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, sclite_costs: bool
) -> None:
    import random

    draw = random.Random(1)
    costs = edit_distance.EditCosts(4, 3) if sclite_costs else edit_distance.EditCosts()
    monkeypatch.setattr(edit_distance, "WHOLE_TABLE", 8)
    for _ in range(200):
        left, right = ([draw.choice("abc") for _ in range(draw.randrange(12))] for _ in "12")
        whole = count_errors(left, right, sclite_costs=sclite_costs)
        path = edit_distance.edit_alignment(left, right, costs)
        assert [i for i, _ in path if i is not None] == list(range(len(left)))
        assert [j for _, j in path if j is not None] == list(range(len(right)))
        found = sum(
            costs.gap if i is None or j is None else costs.substitution * (left[i] != right[j])
            for i, j in path
        )
        gaps = whole.deletions + whole.insertions
        assert found == costs.substitution * whole.substitutions + costs.gap * gaps


# Other tools' conventions.


def test_mfas_symbols_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    spoken = [Span("hello", 0.5, 1.0), Span("world", 1.2, 1.6)]
    marks = [
        Span("sil", 0.0, 0.5),
        Span("sp", 1.0, 1.2),
        Span("spn", 1.6, 1.8),
        Span("<unk>", 1.8, 2.0),
    ]
    write_textgrid(tmp_path / "mfa" / "u.TextGrid", {"words": [*spoken, *marks]}, 2.0)
    write_textgrid(tmp_path / "ref" / "u.TextGrid", {"words": spoken}, 2.0)
    report = score_time_files(tmp_path / "ref", tmp_path / "mfa")
    assert report.scores.start_precision == 1
    assert report.scores.start_f1 == 1
    assert any("read as mfa's" in note and "spn" in note for note in report.notes)
    assert "note: the hypothesis is read as mfa's" in report.as_text()
    plain = score_time_files(
        tmp_path / "ref", tmp_path / "mfa", TimesScoringOptions(dialect="plain")
    )
    assert plain.scores.start_precision == pytest.approx(2 / 6)
    assert plain.notes == ()


def test_words_that_agree_but_for_case_are_hinted_at() -> None:
    upper, lower = {"u": ["HELLO", "WORLD"]}, {"u": ["hello", "world"]}
    report = score_words(upper, lower)
    assert any("--ignore_case" in note for note in report.notes)
    assert score_words(upper, lower, WordScoringOptions(ignore_case=True)).words.percent == 0
    assert score_words(upper, upper).notes == ()


def test_tiers_of_several_speakers_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    tiers = {
        "ann - words": [Span("HI", 0.0, 0.5)],
        "ann - phones": [Span("h", 0.0, 0.5)],
        "bob - words": [Span("HELLO", 0.3, 0.9)],
    }
    write_textgrid(path, tiers, 1.0)
    assert [span.symbol for span in read_textgrid(path)] == ["HI", "HELLO"]
    assert [span.symbol for span in read_textgrid(path, "bob - words")] == ["HELLO"]


@pytest.mark.parametrize("names", [("Words", "Phones"), ("ORT-MAU", "KAN-MAU"), ("word", "phone")])
def test_words_are_found_as_other_tools_call_their_tier(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    path = tmp_path / "u.TextGrid"
    words, phones = names
    write_textgrid(path, {phones: [Span("h", 0.0, 0.5)], words: [Span("HI", 0.0, 0.5)]}, 1.0)
    assert [span.symbol for span in read_textgrid(path)] == ["HI"]
    assert [one.text for one in read_passages(path)] == ["HI"]


def test_the_text_of_several_speakers_tiers_is_their_words_in_order(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    tiers = {
        "ann - words": [Span("HI", 0.0, 0.3), Span("BYE", 0.9, 1.0)],
        "ann - phones": [Span("h", 0.0, 0.3)],
        "bob - words": [Span("HELLO", 0.3, 0.9)],
    }
    write_textgrid(path, tiers, 1.0)
    assert [one.text for one in read_passages(path)] == ["HI HELLO BYE"]


# Normal forms.


@pytest.mark.parametrize(
    ("left", "right", "form", "errors"),
    [
        ("caf\u00e9", "cafe\u0301", "nfc", 0),
        ("caf\u00e9", "cafe\u0301", "none", 1),
        ("zero\u200bwidth", "zerowidth", "nfc", 0),
        ("don’t", "don't", "nfc", 1),
        ("don’t", "don't", "loose", 0),
        ("ﬁne", "fine", "loose", 0),
    ],
)
def test_words_that_look_alike_are_alike_as_far_as_told(
    left: str, right: str, form: str, errors: int
) -> None:
    report = score_words({"u": [left]}, {"u": [right]}, WordScoringOptions(normalize=form))
    assert report.words.counts.errors == errors


def test_ids_that_look_alike_are_one_utterance() -> None:
    reference = {unicodedata.normalize("NFC", "é1"): ["A"]}
    hypothesis = {unicodedata.normalize("NFD", "é1"): ["A"]}
    assert score_words(reference, hypothesis).words.percent == 0
    with pytest.raises(ValueError, match="have no hypothesis"):
        score_words(reference, hypothesis, WordScoringOptions(normalize="none"))


# Transcripts of sclite.


def test_trn_and_stm_are_read_by_suffix_and_a_trn_under_another_name_is_refused(
    tmp_path: Path,
) -> None:
    trn, kaldi, stm, ctm = (tmp_path / name for name in ("ref.trn", "hyp", "ref.stm", "hyp.ctm"))
    trn.write_text("HELLO WORLD (spk-u1)\nGOOD { DAY / NIGHT } (spk-u2)\n")
    kaldi.write_text("spk-u1 HELLO WORLD\nspk-u2 GOOD DAY\n")
    assert read_trn(trn) == {"spk-u1": ["HELLO", "WORLD"], "spk-u2": ["GOOD", "DAY"]}
    assert wer(trn, kaldi) == 0
    stm.write_text(
        ";; made by hand\nrec 1 spk 2.0 3.0 <o,f0,male> DAY\nrec 1 spk 0.0 1.0 <o> GOOD\n"
        "rec 1 spk 3.0 9.0 <o> IGNORE_TIME_SEGMENT_IN_SCORING\n"
    )
    ctm.write_text("rec 1 0.1 0.2 GOOD\nrec 1 2.1 0.2 DAY\n")
    assert read_stm(stm) == {"rec": ["GOOD", "DAY"]}
    assert wer(stm, ctm) == 0
    other = tmp_path / "ref.txt"
    other.write_text(trn.read_text())
    with pytest.raises(ValueError, match=r"ref\.txt: .*must be called \*\.trn"):
        wer(other, kaldi)
    other.write_text("rec 1 spk 2.0 3.0 <o,f0,male> DAY\nred 1 spk 0 1 GOOD\n")
    with pytest.raises(ValueError, match=r"ref\.txt: .*must be called \*\.stm"):
        wer(other, kaldi)
    other.write_text(f";; made by hand\n{other.read_text()}")
    with pytest.raises(ValueError, match=r"ref\.txt: .*must be called \*\.stm"):
        wer(other, kaldi)
    other.write_text("u1 1 0.50 0.2 YES\nu2 A 0.4 0.30 NO 0.98\n")
    with pytest.raises(ValueError, match=r"ref\.txt: .*must be called \*\.ctm"):
        wer(other, kaldi)
    # words may be numbers
    other.write_text("spk-u1 ONE 2 3 4\nspk-u2 SIX 1 2 BUCKLE\n")
    assert wer(other, other) == 0


def test_words_that_may_be_missing_are_no_errors(tmp_path: Path) -> None:
    trn, hyp = tmp_path / "ref.trn", tmp_path / "hyp.trn"
    trn.write_text("(UH) HELLO { WELL / @ } WORLD (u)\n")
    for said, errors in (("HELLO WORLD", 0), ("UH HELLO WELL WORLD", 0), ("UH HELLO THERE", 1)):
        hyp.write_text(f"{said} (u)\n")
        report = score_word_files(trn, hyp)
        assert report.words.counts.errors == errors
        # Nor are their characters; WORLD becomes THERE by five edits.
        assert report.characters is not None
        assert report.characters.counts.errors == 5 * errors


def test_a_glm_maps_spellings_and_makes_hesitations_optional(tmp_path: Path) -> None:
    glm, ref, hyp = tmp_path / "en.glm", tmp_path / "ref", tmp_path / "hyp"
    glm.write_text(
        ";; rules\n* old style\n[UH] => [(%HESITATION)] / [ ] __ [ ]\nUM => (%HESITATION)\n"
        "[CAN'T] => [CAN NOT] / [ ] __ [ ]\nCANNOT => CAN NOT\n[HE'S] => [{HE IS / HE HAS}]\n"
    )
    ref.write_text("u UM I CAN'T SAY\nv HE'S HERE\n")
    hyp.write_text("u I cannot SAY UH\nv HE IS HERE\n")
    assert read_glm(glm).rules[("he's",)] == ("HE", "IS")
    assert wer(ref, hyp, mapping=read_glm(glm)) == 0
    assert wer(ref, hyp) != 0
    glm.write_text("[A] => [B] / [X] __ [ ]\n")
    with pytest.raises(ValueError, match=r"en\.glm:1: .*without a context"):
        read_glm(glm)


# Channels.


def test_each_side_may_have_a_channel_of_its_own(tmp_path: Path) -> None:
    ref, hyp = tmp_path / "ref.ctm", tmp_path / "hyp.ctm"
    ref.write_text("call A 0 1 HELLO\ncall B 2 1 BYE\n")
    hyp.write_text("call 1 2 1 BYE\n")
    command = ["--ref", str(ref), "--hyp", str(hyp), "--channel", "B", "--hyp_channel", "1"]
    assert score_alignment.main(command) == 0
    options = TimesScoringOptions(channel="B", hyp_channel="1")
    assert score_time_files(ref, hyp, options).scores.start_f1 == 1


# TextGrids, CTM, encodings.

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 2
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 5e-1
            text = "café"
        intervals [2]:
            xmin = 0.5
            xmax = 1.0000000000001
            text = "intervals [2]: ""x"" = 3"
        intervals [3]:
            xmin = 1
            xmax = 2
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "empty"
        xmin = 0
        xmax = 2
        intervals: size = 0
"""


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "mac_roman"],
)
def test_textgrids_of_the_field_are_read_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "u.TextGrid"
    path.write_bytes(LONG.encode(encoding))
    assert read_textgrid(path) == [
        Span("café", 0.0, 0.5),
        Span('intervals [2]: "x" = 3', 0.5, 1.0000000000001),
    ]
    assert read_textgrid(path, "empty") == []


def test_a_tier_need_not_be_filled(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    last = LONG.index("        intervals [3]:")
    rest = LONG.index("    item [2]:")
    path.write_text((LONG[:last] + LONG[rest:]).replace("size = 3", "size = 2"))
    assert [span.start for span in read_textgrid(path)] == [0.0, 0.5]
    path.write_text(LONG[:last])
    with pytest.raises(ValueError, match="it breaks off"):
        read_textgrid(path)


@pytest.mark.parametrize(
    "text",
    ["café à la crème", "größer über Äpfel", "mañana señor", "Ñandú", "été", "“it’s” – naïve"],
)
@pytest.mark.parametrize("encoding", ["cp1252", "mac_roman"])
def test_encodings_of_one_byte_are_told_apart(text: str, encoding: str) -> None:
    raw = text.encode(encoding)
    assert raw.decode(encoding_of(raw)) == text


def test_an_encoding_may_be_named_and_a_wrong_one_is_said(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("a ok\nb Ärger\n".encode("cp437"))
    assert read_text(path, "cp437") == {"a": ["ok"], "b": ["Ärger"]}
    with pytest.raises(ValueError, match=r"text:2: must be UTF-8 text, got the byte 0x8E"):
        read_text(path)
    with pytest.raises(ValueError, match=r"text:2: must be ascii text"):
        read_text(path, "ascii")
    with pytest.raises(ValueError, match="there is no encoding 'nonsense'"):
        read_text(path, "nonsense")
    path.write_bytes(codecs.BOM_UTF16_LE + "a ok\nb Ärger\n".encode("utf-16-le"))
    assert read_text(path)["b"] == ["Ärger"]


def test_a_line_ends_where_lines_end_in_every_encoding(tmp_path: Path) -> None:
    # 0x85 is an ellipsis in Windows-1252, and the end of a line to str.splitlines in Latin-1.
    (tmp_path / "text").write_bytes(b"a well\x85 yes\r\nb no\rc so\n")
    assert read_text(tmp_path / "text", "latin-1") == {
        "a": ["well\x85", "yes"],
        "b": ["no"],
        "c": ["so"],
    }


def test_comments_and_no_break_spaces_in_ctm_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text("# a comment\nu 1 0 1 3\u00a0000\n  ;; another\n", encoding="utf-8")
    assert read_ctm(path) == {"u": [Span("3\u00a0000", 0.0, 1.0)]}


def test_cuts_are_a_reference(tmp_path: Path) -> None:
    sound = AudioSource("file", [0], "none.wav")
    recording = Recording("rec", [sound], 16000, 160000, 10.0)
    words = [AlignmentItem("HELLO", 4.5, 0.5), AlignmentItem("WORLD", 5.0, 0.5)]
    whole = SupervisionSegment(
        "sup", "rec", 4.0, 2.0, text="HELLO WORLD", alignment={"word": words}
    )
    cut = recording.to_cut()
    cut.supervisions = [whole]
    trimmed = next(iter(CutSet.from_cuts([cut]).trim_to_supervisions())).with_id("cut")
    path = tmp_path / "cuts.jsonl.gz"
    CutSet.from_cuts([trimmed]).to_file(path)
    assert read_spans(path) == {"cut": [Span("HELLO", 0.5, 1.0), Span("WORLD", 1.0, 1.5)]}
    hyp = tmp_path / "hyp.ctm"
    hyp.write_text("cut 1 0.5 0.5 HELLO\ncut 1 1.0 0.5 WORLD\n")
    assert score_time_files(path, hyp).scores.as_row()["boundary_mae_ms"] == 0


def test_the_command_reads_what_the_field_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ref, hyp, glm = tmp_path / "ref.trn", tmp_path / "hyp.trn", tmp_path / "a.glm"
    ref.write_text("DON’T (u)\n", encoding="utf-8")
    hyp.write_text("UH DON'T (u)\n")
    glm.write_text("[UH] => [(UH)]\n")
    command = ["--ref", str(ref), "--hyp", str(hyp), "--normalize", "loose", "--glm", str(glm)]
    assert score_words_command.main([*command, "--no_characters"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[:10] == ["word", "1", "1", "1", "0", "0", "0", "0", "0", "0.00"]
