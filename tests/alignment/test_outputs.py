"""Files of an alignment in every format: read back by other programs, whatever ids and words hold."""

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import jsonschema
import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import SupervisionSet
from praatio import textgrid
from pympi import Elan

from espnet_ottc.alignment.aligned import (
    DOUBTFUL,
    NOT_FOUND,
    AlignedUtterance,
    AlignedWord,
    Summary,
)
from espnet_ottc.alignment.formats import read_ctm, read_spans, write_ctm
from espnet_ottc.alignment.outputs import FORMATS, read_alignment, write_outputs
from espnet_ottc.alignment.outputs.captions import CaptionRules, captions_of
from espnet_ottc.alignment.outputs.json_file import alignment_values, schema
from espnet_ottc.alignment.scoring import TimesScoringOptions, score_time_files, score_word_files
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.escapes import escaped, file_for, file_name_of, id_of_file_name, unescaped

WORDS = ["It's", "3,000.50", "naïve", "“quoted”", "a<b>&{c}\\N", "שלום", "x\u00a0y", "50%25", "你"]
HOSTILE = [
    "a/b",
    "../../etc/passwd",
    "/absolute",
    "..",
    ".",
    "",
    "nul\0nul",
    "line\nbreak",
    "my talk",
    "quo\"te's",
    ";;comment",
    "#hash",
    "<ALT_BEGIN>",
    "日本語 שלום",
    "100%41",
    "-rf",
    "~root",
    "C:\\windows\\x",
    "trailing. ",
    "back\u202eward",
]


def utterance(words: list[str], identity: str = "talk", **more: object) -> AlignedUtterance:
    found = tuple(
        AlignedWord(
            text,
            0.5 * place,
            0.5 * place + 0.4,
            0.9,
            tokens=(Span("T", 0.5 * place, 0.5 * place + 0.4, 0.5),),
            spoken="T",
        )
        for place, text in enumerate(words)
    )
    values: dict[str, object] = {
        "id": identity,
        "recording": identity,
        "offset": 2.0,
        "duration": 0.5 * len(words),
        "words": found,
        "confidence": 0.9,
    }
    return AlignedUtterance(**{**values, **more})  # type: ignore[arg-type]


@pytest.fixture
def audio(tmp_path: Path) -> str:
    import numpy as np
    import soundfile

    path = tmp_path / "sound" / "talk.wav"
    path.parent.mkdir()
    noise = np.random.default_rng(0).normal(0, 0.01, 16000 * 8)
    soundfile.write(path, noise, 16000)
    return str(path)


@given(st.text())
def test_escapes_are_reversible_and_files_stay_in_their_folder(name: str) -> None:
    assert unescaped(escaped(name, str.isspace)) == name
    try:
        path = file_for(Path("/some/folder"), name, ".TextGrid")
    except ValueError:
        assert len(name) > 20
        return
    assert path.parent == Path("/some/folder")
    assert path.name.isprintable()
    assert id_of_file_name(path.name.removesuffix(".TextGrid")) == name


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("form", FORMATS)
def test_every_writer_keeps_hostile_ids_inside_the_folder(
    tmp_path: Path, audio: str, form: str, name: str
) -> None:
    folder = tmp_path / "out" / "inner"
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    (path,) = write_outputs(folder, [utterance(WORDS, name, source=audio)], [form])
    assert {one for one in tmp_path.rglob("*") if one.is_file()} - before == {path}
    assert path.parent == folder
    assert id_of_file_name(path.name.removesuffix(FORMATS[form].suffix)) == name
    assert path.stat().st_size > 0


def _ctm(path: Path) -> list[Span]:
    ((_, spans),) = read_ctm(path).items()
    return spans


def _grid(path: Path) -> list[Span]:
    entries = textgrid.openTextgrid(str(path), False).getTier("words").entries
    return [Span(unescaped(entry.label), entry.start, entry.end) for entry in entries]


def _json(path: Path) -> list[Span]:
    (one,) = read_alignment(path)
    return [Span(w.text, w.start + one.offset, w.end + one.offset) for w in one.words]


def _lhotse(path: Path) -> list[Span]:
    (one,) = SupervisionSet.from_file(path)
    return [Span(item.symbol, item.start, item.end) for item in one.alignment["word"]]


def _elan(path: Path) -> list[Span]:
    entries = Elan.Eaf(str(path)).get_annotation_data_for_tier("words")
    return [
        Span(unescaped(entry[2]), entry[0] / 1000, entry[1] / 1000) for entry in sorted(entries)
    ]


def _labels(path: Path) -> list[Span]:
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [Span(unescaped(label), float(start), float(end)) for start, end, label in rows]


@pytest.mark.parametrize(
    ("form", "read"),
    [
        ("ctm", _ctm),
        ("textgrid", _grid),
        ("json", _json),
        ("lhotse", _lhotse),
        ("elan", _elan),
        ("audacity", _labels),
    ],
)
def test_words_and_times_on_the_recording_survive(
    tmp_path: Path, form: str, read: Callable[[Path], list[Span]]
) -> None:
    (path,) = write_outputs(tmp_path, [utterance(WORDS, "my talk")], [form])
    assert [(s.symbol, s.start, pytest.approx(s.end)) for s in read(path)] == [
        (word, pytest.approx(2 + 0.5 * place), 2 + 0.5 * place + 0.4)
        for place, word in enumerate(WORDS)
    ]


def test_controls_in_words_are_escaped_where_the_format_has_no_place_for_them(
    tmp_path: Path,
) -> None:
    for form in ("textgrid", "elan", "audacity", "ctm", "srt", "vtt", "ass"):
        (path,) = write_outputs(tmp_path, [utterance(["a\x00b", "c\x1bd"])], [form])
        content = path.read_text(encoding="utf-8")
        assert "a%00b" in content
        assert "c%1Bd" in content


def test_a_percent_sign_that_stands_alone_stays_in_subtitles(tmp_path: Path) -> None:
    for form in ("srt", "vtt", "ass"):
        (path,) = write_outputs(tmp_path, [utterance(["50", "%", "%41"])], [form])
        content = path.read_text(encoding="utf-8")
        assert "%2541" in content
        assert content.count("%25") == 1
        assert "% " in content


def test_speakers_and_channels_have_tiers_of_their_own(tmp_path: Path) -> None:
    both = [
        utterance(["hello"], "one", recording="call", speaker="ann", channel=1),
        utterance(["hi"], "two", recording="call", speaker="bob", channel=2),
    ]
    paths = write_outputs(tmp_path, both, ["textgrid", "elan", "ctm"])
    grid = textgrid.openTextgrid(str(paths[0]), False)
    assert grid.tierNames == ("ann - words", "ann - tokens", "bob - words", "bob - tokens")
    assert "bob - words" in Elan.Eaf(str(paths[1])).get_tier_names()
    assert [line.split()[:2] for line in paths[2].read_text().splitlines()] == [
        ["call", "1"],
        ["call", "2"],
    ]


def test_one_file_holds_one_recording_and_known_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one recording, got 2"):
        write_outputs(tmp_path, [utterance(["a"], "one"), utterance(["b"], "two")])
    with pytest.raises(ValueError, match=r"formats are textgrid.*got doc"):
        write_outputs(tmp_path, [utterance(["a"])], ["doc"])
    with pytest.raises(ValueError, match="a page needs the recording's file"):
        write_outputs(tmp_path, [utterance(["a"])], ["page"])


def test_json_agrees_with_its_schema_and_comes_back_whole(tmp_path: Path) -> None:
    one = utterance(
        WORDS, gaps=(Span("<gap>", 4.0, 4.5),), channel=2, speaker="ann", search="viterbi"
    )
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(alignment_values([one]), schema())
    (path,) = write_outputs(tmp_path, [one], ["json"])
    assert read_alignment(path) == [one]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**alignment_values([one]), "version": 2}, schema())
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "version": 99}))
    with pytest.raises(ValueError, match=r"talk.json: .*version 99 is later"):
        read_alignment(path)


def test_json_has_the_intervals_of_boundaries_on_the_recording(tmp_path: Path) -> None:
    word = AlignedWord("a", 0.5, 0.9, start_interval=(0.47, 0.52), end_interval=(0.9, 1.0))
    one = replace(utterance(["a", "b"]), words=(word, AlignedWord("b", 1.0, 1.2)), duration=2.0)
    values = alignment_values([one])
    jsonschema.validate(values, schema())
    first, second = values["utterances"][0]["words"]
    assert first["start_interval"] == [2.47, 2.52]
    assert first["end_interval"] == [2.9, 3.0]
    assert second["start_interval"] is None
    (path,) = write_outputs(tmp_path, [one], ["json"])
    assert read_alignment(path) == [one]
    # Files of earlier versions have no such keys.
    for written in (first, second):
        del written["start_interval"], written["end_interval"]
    jsonschema.validate(values, schema())
    path.write_text(json.dumps(values))
    assert read_alignment(path)[0].words[0].start_interval is None
    first["start_interval"] = [2.47]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema())


def _spoken(text: str, pause_after: str = "", glued: bool = False) -> AlignedUtterance:
    """0.3 s a word; three seconds of silence after one of them."""
    words, now, sentence = [], 0.0, 0
    for word in text if glued else text.split():
        words.append(AlignedWord(word, now, now + 0.3, 1.0, sentence=sentence, glued=glued))
        now += 0.3 + 3 * (word == pause_after)
        sentence += word.endswith((".", "。"))
    return AlignedUtterance("u", "r", 1.0, now, tuple(words))


def test_captions_have_lines_that_can_be_read() -> None:
    text = (
        " ".join(f"word{n}," if n % 9 == 8 else f"word{n}" for n in range(60)) + " end. Next one."
    )
    captions = captions_of([_spoken(text, pause_after="word20")])
    rules = CaptionRules()
    words = [word.text for caption in captions for word in caption.words]
    assert words == text.split()
    for caption, following in zip(captions, [*captions[1:], None], strict=True):
        assert len(" ".join(word.text for word in caption.words)) <= rules.line * rules.lines
        assert caption.end - caption.start <= rules.longest + 1e-9
        assert following is None or caption.end <= following.start + 1e-9
    assert any(caption.words[-1].text == "word20" for caption in captions)  # a pause
    assert any(caption.words[-1].text.endswith(",") for caption in captions)
    assert captions[-1].words[0].text == "Next"  # a sentence
    assert captions[-1].end - captions[-1].start == pytest.approx(1.0)  # long enough to read


@pytest.mark.parametrize("form", ["srt", "vtt", "ass"])
def test_subtitles_are_read_by_others_with_their_words(tmp_path: Path, form: str) -> None:
    text = "This is a sentence that is much too long to be read in one line of a subtitle. Yes."
    (path,) = write_outputs(tmp_path, [_spoken(text)], [form])
    lines = pysubs2.load(str(path), encoding="utf-8")
    assert " ".join(" ".join(line.plaintext.split()) for line in lines) == text
    assert lines[0].start == 1000
    for line in lines:
        assert all(len(one) <= 42 for one in line.plaintext.split("\n"))


def test_words_of_scripts_without_spaces_are_joined(tmp_path: Path) -> None:
    (path,) = write_outputs(tmp_path, [_spoken("你好世界。", glued=True)], ["srt"])
    assert pysubs2.load(str(path))[0].plaintext == "你好世界。"


def test_karaoke_lights_each_word_at_its_time(tmp_path: Path) -> None:
    (path,) = write_outputs(tmp_path, [utterance(["one", "two"])], ["ass"])
    (line,) = pysubs2.load(str(path))
    assert line.text == r"{\k40}one {\k10}{\k40}two"


def test_markup_in_words_stays_text(tmp_path: Path) -> None:
    word = "<i>{b}\\N&amp;"
    for form in ("srt", "vtt", "ass"):
        (path,) = write_outputs(tmp_path, [utterance([word])], [form])
        content = path.read_text(encoding="utf-8")
        assert "<i>" not in content or form == "ass"  # ASS has no tags of that kind
        assert "{b}" not in content
        assert "\\N" not in content.split("[Events]")[-1]


def test_the_summary_counts_and_knows_what_is_too_much() -> None:
    right = utterance(["a", "b"])
    odd = utterance(["c"], status=DOUBTFUL)
    lost = utterance(["d"], status=NOT_FOUND)
    summary = Summary.of([right, right, odd, lost])
    assert summary.doubtful_share == 0.5
    assert summary.exceeds(0.49)
    assert not summary.exceeds(0.5)
    assert summary.as_text() == ("6 words (6 ok) of 4 utterances (2 ok, 1 doubtful, 1 not found)")


def test_paths_may_be_text(tmp_path: Path) -> None:
    (path,) = write_outputs(str(tmp_path), [utterance(["hi"])], ["json"])
    assert [word.text for word in read_alignment(str(path))[0].words] == ["hi"]


def test_an_id_that_no_file_name_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="must fit into a file's name"):
        file_name_of("x" * 300)


def test_a_folder_of_textgrids_has_the_ids_that_were_written(tmp_path: Path) -> None:
    for name in ("a/b", "my talk", ".."):
        write_outputs(tmp_path, [utterance(["hi"], name)], ["textgrid"])
    assert set(read_spans(tmp_path)) == {"a/b", "my talk", ".."}


def test_scorers_read_what_the_aligner_writes_against_each_other(tmp_path: Path) -> None:
    ids = ("a/b/x", "a/c/x", "y")
    found = [utterance(["hi", "you"], name, offset=0.0) for name in ids]
    grids, json_files = tmp_path / "grids", tmp_path / "json"
    for one in found:
        *folders, name = one.id.split("/")
        write_outputs(grids.joinpath(*folders), [one], ["textgrid"], name=f"{name}.aligned")
        write_outputs(json_files.joinpath(*folders), [one], ["json"], name=name)
    write_ctm(tmp_path / "words.ctm", {one.id: one.word_spans for one in found})
    kinds = (tmp_path / "words.ctm", grids, json_files)
    for reference, hypothesis in permutations(kinds, 2):
        report = score_time_files(reference, hypothesis)
        assert report.scores.as_row()["start_f1"] == 100.0
        assert score_word_files(reference, hypothesis).words.counts.words == 6
    single = score_time_files(
        grids / "y.aligned.TextGrid", json_files / "y.json", TimesScoringOptions(tier="tokens")
    )
    assert single.scores.as_row()["reference_words"] == 2
    with pytest.raises(ValueError, match=r"the tier must be one of words, tokens, got phones"):
        read_spans(json_files, "phones")
