"""CTM, TextGrid, supervisions and Kaldi text: round trips, other tools' files, broken files."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import SupervisionSegment
from lhotse.supervision import AlignmentItem

from espnet_ottc.alignment import formats
from espnet_ottc.alignment.scoring import score_word_files
from espnet_ottc.alignment.spans import Span

WORDS = st.text(st.characters(categories=("L", "N"), include_characters="'-.\"<>"), min_size=1)


@st.composite
def spans_in_order(draw: st.DrawFn) -> list[Span]:
    """Words that do not overlap, each 1 ms or longer, with times that no grid holds."""
    edges = draw(st.lists(st.floats(0.0013, 3.0), min_size=2, max_size=12))
    time, spans = 0.0, []
    for gap, length in zip(edges[::2], edges[1::2], strict=False):
        score = draw(st.none() | st.floats(0, 1))
        spans.append(Span(draw(WORDS), time + gap, time + gap + length, score))
        time += gap + length
    return [span for span in spans if not span.symbol.startswith("<ALT")]


def _same(found: list[Span], wanted: list[Span], seconds: float, *, scores: bool = True) -> None:
    assert [span.symbol for span in found] == [span.symbol for span in wanted]
    for got, want in zip(found, wanted, strict=True):
        assert abs(got.start - want.start) <= seconds
        assert abs(got.end - want.end) <= seconds
        if scores:
            wanted_score = None if want.score is None else pytest.approx(want.score, abs=1e-6)
            assert got.score == wanted_score
        else:
            assert got.score is None


@settings(max_examples=50)
@given(spans=spans_in_order().filter(bool))
def test_ctm_round_trip_within_half_a_microsecond(
    tmp_path_factory: pytest.TempPathFactory, spans: list[Span]
) -> None:
    path = tmp_path_factory.mktemp("ctm") / "a.ctm"
    formats.write_ctm(path, {"utt": spans})
    _same(formats.read_ctm(path)["utt"], spans, 0.51e-6)


@settings(max_examples=50)
@given(spans=spans_in_order())
def test_textgrid_round_trip_within_a_twentieth_of_a_millisecond(
    tmp_path_factory: pytest.TempPathFactory, spans: list[Span]
) -> None:
    path = tmp_path_factory.mktemp("grid") / "utt.TextGrid"
    formats.write_textgrid(path, {"words": spans}, duration=40.0)
    _same(formats.read_textgrid(path), spans, 0.0501e-3, scores=False)


@settings(max_examples=50)
@given(spans=spans_in_order())
def test_supervision_round_trip_within_ten_nanoseconds(
    tmp_path_factory: pytest.TempPathFactory, spans: list[Span]
) -> None:
    path = tmp_path_factory.mktemp("sups") / "s.jsonl.gz"
    formats.write_supervisions(path, {"utt": spans}, {"utt": 40.0})
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    _same(formats.read_supervisions(path)["utt"], spans, 1e-8)


def test_supervisions_may_hold_several_alignments(tmp_path: Path) -> None:
    words, tokens = {"u": [Span("AB", 0.0, 1.0)]}, {"u": [Span("A", 0.0, 0.4), Span("B", 0.4, 1.0)]}
    path = tmp_path / "s.jsonl"
    formats.write_supervisions(path, words, {"u": 2.0}, others={"token": tokens})
    assert [s.symbol for s in formats.read_supervisions(path)["u"]] == ["AB"]
    assert [s.symbol for s in formats.read_supervisions(path, "token")["u"]] == ["A", "B"]


def test_ctm_of_other_tools_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(
        "\ufeff;; made by some tool\n"
        "b A 1.5 .25 second NA\r\n"
        "\n"
        "b A 0.1 0.2 first 0.75 lex spk1\n"
        "  ;; another comment\n"
        "a\t1\t0\t0.3\tword\n",
        encoding="utf-8",
    )
    assert formats.read_ctm(path) == {
        "b": [Span("first", 0.1, 0.3, 0.75), Span("second", 1.5, 1.75)],
        "a": [Span("word", 0.0, 0.3)],
    }


def test_ctm_with_two_channels_needs_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text("a A 0 1 left\na B 0 1 right\n")
    with pytest.raises(ValueError, match=r"a: .*a.ctm:2 has channel B beside A"):
        formats.read_ctm(path)
    assert formats.read_ctm(path, channel="B") == {"a": [Span("right", 0.0, 1.0)]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a 1 0.0 0.5", r"a.ctm:1: a CTM line is"),
        ("a 1 zero 0.5 word", r"a: .*a.ctm:1: could not convert"),
        ("a 1 -1 0.5 word", r"a: .*a.ctm:1: .*0 <= start <= end"),
        ("a 1 1 -0.5 word", r"a: .*a.ctm:1: .*0 <= start <= end"),
        ("a 1 nan 0.5 word", r"a: .*a.ctm:1: .*finite"),
        ("a 1 0 0.5 word high", r"a: .*a.ctm:1: could not convert"),
        ("a 1 * * <ALT_BEGIN>", r"a: .*alternations"),
    ],
)
def test_broken_ctm_names_file_and_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        formats.read_ctm(path)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a b", "word"),
        ("a", "two words"),
        ("a", ""),
        (";;a", "word"),
        ("#a", "#word"),
        ("a", "<ALT>"),
        ("a%20b", "100%"),
        ("a\u00a0b", "x\u00a0y"),
    ],
)
def test_what_ctm_cannot_hold_is_escaped_and_comes_back(
    tmp_path: Path, name: str, word: str
) -> None:
    spans = {name: [Span(word, 0.0, 1.0)]}
    formats.write_ctm(tmp_path / "a.ctm", spans)
    (line,) = (tmp_path / "a.ctm").read_text().splitlines()
    assert len(line.split()) == 5
    assert formats.read_ctm(tmp_path / "a.ctm") == spans


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    formats.write_ctm(path, {"a": [Span("old", 0.0, 1.0)]})
    before = path.read_text()
    with pytest.raises(AttributeError):
        formats.write_ctm(path, {"a": [Span("new", 0.0, 1.0), None]})  # type: ignore[list-item]
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_takes_the_old_ones_place_in_one_step(tmp_path: Path) -> None:
    path, reader = tmp_path / "a.ctm", tmp_path / "link"
    formats.write_ctm(path, {"a": [Span("old", 0.0, 1.0)]})
    reader.hardlink_to(path)
    formats.write_ctm(path, {"a": [Span("new", 0.0, 1.0)]})
    assert "new" in path.read_text()
    assert "old" in reader.read_text()


SHORT_TEXTGRID = '''File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"IntervalTier"
"words"
0
1.5
3
0
0.5
""
0.5
1.2
"say ""hi"""
1.2
1.5
""
"IntervalTier"
"phones"
0
1.5
1
0
1.5
"S"
'''


def test_textgrid_of_praat_in_short_form_and_utf16_is_read(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    path.write_text(SHORT_TEXTGRID, encoding="utf-16")
    assert formats.read_textgrid(path) == [Span('say "hi"', 0.5, 1.2)]
    assert formats.read_textgrid(path, tier="phones") == [Span("S", 0.0, 1.5)]


def test_a_missing_tier_names_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    path.write_text(SHORT_TEXTGRID)
    with pytest.raises(ValueError, match=r"u: .*no interval tier 'word'; there are words, phones"):
        formats.read_textgrid(path, tier="word")


def test_a_single_tier_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    formats.write_textgrid(path, {"spk1 - words": [Span("A", 0.0, 1.0)]})
    assert formats.read_textgrid(path) == [Span("A", 0.0, 1.0)]


@pytest.mark.parametrize("content", ["", "not a grid", SHORT_TEXTGRID[:70]])
def test_a_broken_textgrid_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "u.TextGrid"
    path.write_text(content)
    with pytest.raises(ValueError, match="u: cannot read TextGrid"):
        formats.read_textgrid(path)


def test_a_textgrid_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    formats.write_textgrid(path, {"words": [Span("A", 0.5, 1.0), Span("B", 1.2, 1.5)]}, 2.0)
    lines = path.read_text().splitlines(keepends=True)
    for count in range(len(lines)):
        path.write_text("".join(lines[:count]))
        with pytest.raises(ValueError, match="u: cannot read TextGrid"):
            formats.read_textgrid(path)
    path.write_text(SHORT_TEXTGRID[:120])
    with pytest.raises(ValueError, match="it breaks off"):
        formats.read_textgrid(path)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([Span("A", 0.0, 0.5), Span("B", 0.4, 0.8)], "overlap"),
        ([Span("A", 0.5, 0.5)], "0.1 ms or more"),
        ([Span("A", 0.5, 1.5)], "pass 1.0 s"),
        ([Span(" A", 0.0, 0.5)], "non-empty and unpadded"),
        ([Span("", 0.0, 0.5)], "non-empty and unpadded"),
    ],
)
def test_what_a_textgrid_cannot_hold_is_refused(
    tmp_path: Path, spans: list[Span], message: str
) -> None:
    with pytest.raises(ValueError, match=f"u: .*{message}"):
        formats.write_textgrid(tmp_path / "u.TextGrid", {"words": spans}, duration=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_textgrid_without_spans_needs_a_duration(tmp_path: Path) -> None:
    path = tmp_path / "u.TextGrid"
    with pytest.raises(ValueError, match="u: a TextGrid without spans needs a duration"):
        formats.write_textgrid(path, {"words": []})
    formats.write_textgrid(path, {"words": []}, duration=2.0)
    assert formats.read_textgrid(path) == []


def _supervision(**changes: float) -> SupervisionSegment:
    items = [AlignmentItem("", 7.0, 0.25), AlignmentItem("A", 7.25, 0.5, 0.9)]
    start = changes.get("start", 7.0)
    return SupervisionSegment("s", "rec", start, 2.0, alignment={"word": items})


def test_spans_of_a_supervision_start_at_its_own_start() -> None:
    assert formats.spans_of(_supervision()) == [Span("A", 0.25, 0.75, 0.9)]


def test_a_moved_supervision_is_read_from_its_original_start() -> None:
    assert formats.spans_of(_supervision(start=0.0), origin=7.0) == [Span("A", 0.25, 0.75, 0.9)]


def test_a_moved_supervision_read_as_if_it_had_not_moved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"s: 'A' at \[7.25, 7.75\) lies outside"):
        formats.spans_of(_supervision(start=0.0))


def test_with_spans_leaves_the_supervision_alone_and_keeps_other_alignments() -> None:
    original = _supervision()
    changed = formats.with_spans(original, [Span("a", 0.123456, 0.2)], kind="phone")
    assert list(original.alignment) == ["word"]
    assert formats.spans_of(changed) == formats.spans_of(original)
    (phone,) = formats.spans_of(changed, "phone")
    assert (phone.start, phone.end) == pytest.approx((0.123456, 0.2), abs=1e-8)


def test_a_supervision_without_the_alignment_is_named() -> None:
    with pytest.raises(ValueError, match="s: no alignment 'phone'; there are word"):
        formats.spans_of(_supervision(), "phone")


def test_supervisions_need_durations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="b: no duration is given"):
        formats.write_supervisions(tmp_path / "s.jsonl", {"a": [], "b": []}, {"a": 1.0})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"id": "a"', "line 1: must be JSON: Expecting"),
        # Without the time of day: parallel test processes must agree on the names of their tests.
        (
            "a.jsonl.gz",
            gzip.compress(b'{"id": "a"}\n' * 99, mtime=0)[:15],
            "after line 0: damaged or cut off",
        ),
        ("a.jsonl.gz", b"no gzip", "after line 0: damaged or cut off"),
        (
            "a.jsonl",
            b'{"id": "a", "sources": [], "sampling_rate": 1, "num_samples": 1, "duration": 1}',
            "line 1: must be one of supervisions or cuts, got a Recording",
        ),
    ],
)
def test_a_file_that_is_no_manifest_of_supervisions_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}, {message}"):
        formats.read_supervisions(path)


def test_every_kind_of_file_is_read_by_its_name(tmp_path: Path) -> None:
    spans = {"u": [Span("A", 0.25, 0.5)]}
    formats.write_ctm(tmp_path / "x.ctm", spans)
    formats.write_textgrid(tmp_path / "spk" / "u.TextGrid", {"words": spans["u"]})
    formats.write_supervisions(tmp_path / "x.jsonl", spans, {"u": 1.0})
    for name in ("x.ctm", "spk", "spk/u.TextGrid", "x.jsonl"):
        assert formats.holds_times(tmp_path / name)
        assert formats.read_spans(tmp_path / name) == spans
    assert not formats.holds_times(tmp_path / "x.txt")
    with pytest.raises(ValueError, match=r"x.srt: times are read from \*.ctm"):
        formats.read_spans(tmp_path / "x.srt")


def test_readers_and_writers_take_paths_as_text(tmp_path: Path) -> None:
    spans = {"u": [Span("hi", 0.0, 0.5)]}
    ctm, grid, manifest, text = (
        str(tmp_path / name) for name in ("u.ctm", "u.TextGrid", "u.jsonl.gz", "text")
    )
    formats.write_ctm(ctm, spans)
    formats.write_textgrid(grid, {"words": spans["u"]}, 1.0)
    formats.write_supervisions(manifest, spans, {"u": 1.0})
    formats.write_columns(text, {"u": ["hi"]})
    assert formats.read_ctm(ctm).keys() == formats.read_supervisions(manifest).keys() == {"u"}
    assert [span.symbol for span in formats.read_textgrid(grid)] == ["hi"]
    for path in (ctm, grid, manifest, str(tmp_path)):
        assert formats.holds_times(path)
        assert [span.symbol for span in formats.read_spans(path)["u"]] == ["hi"]
    assert formats.read_transcripts(text) == {"u": ["hi"]}
    assert score_word_files(text, ctm).words.percent == 0


def test_folders_without_textgrids_or_with_one_id_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a folder must hold TextGrids"):
        formats.read_spans(tmp_path)
    for suffix in (".TextGrid", ".textgrid"):
        formats.write_textgrid(tmp_path / "a" / f"u{suffix}", {"words": []}, 1.0)
    with pytest.raises(ValueError, match=r"a/u: each id must stand once; a/u\.textgrid repeats it"):
        formats.read_spans(tmp_path)


def test_ids_of_files_are_their_paths_where_stems_clash_or_the_other_side_has_paths(
    tmp_path: Path,
) -> None:
    def written(*names: str) -> Path:
        folder = tmp_path / "-".join(names).replace("/", "+")
        for name in names:
            formats.write_textgrid(folder / f"{name}.TextGrid", {"words": []}, 1.0)
        return folder

    assert set(formats.read_spans(written("a/u", "b/v"))) == {"u", "v"}
    assert set(formats.read_spans(written("a/u", "b/u"))) == {"a/u", "b/u"}
    paths = {"a/u": [], "b/v": []}
    assert set(formats.read_spans(written("a/u", "b/v"), like=paths)) == {"a/u", "b/v"}
    # What lies beside recordings has a mark behind their names.
    marked = written("u.aligned")
    assert set(formats.read_spans(marked)) == {"u"}
    assert set(formats.read_spans(marked, like=["u.aligned"])) == {"u.aligned"}
    assert set(formats.read_spans(marked / "u.aligned.TextGrid")) == {"u"}
    assert set(formats.read_spans(written("u", "u.aligned"))) == {"u", "u.aligned"}


def test_kaldi_text_keeps_empty_utterances_and_refuses_doubles(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("a HELLO WORLD\nb\n\n")
    assert formats.read_text(path) == {"a": ["HELLO", "WORLD"], "b": []}
    path.write_text("a X\na Y\n")
    with pytest.raises(ValueError, match=r"a: each id must stand once; .*text:2"):
        formats.read_text(path)
    path.write_bytes(b"a \xff\n")
    with pytest.raises(ValueError, match="must be UTF-8"):
        formats.read_text(path)


@pytest.mark.parametrize("line", ["a", "a 1 2", "a one", "a 0", "a inf"])
def test_broken_durations_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "utt2dur"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=r"^a: "):
        formats.read_durations(path)


@pytest.mark.parametrize(
    "times",
    [
        [(0.0, 0.3), (0.3, 1.0)],
        [(0.2, 0.2), (0.2, 0.2), (0.2, 0.20001)],
        [(0.99999, 1.0), (1.0, 1.0), (1.0, 1.00005)],
        [(0.0, 1.00005)],
    ],
)
def test_spans_of_no_length_are_fitted_onto_a_textgrid(
    tmp_path: Path, times: list[tuple[float, float]]
) -> None:
    spans = [Span(f"W{number}", *pair) for number, pair in enumerate(times)]
    path = tmp_path / "utt.TextGrid"
    formats.write_textgrid(path, {"words": formats.fit_textgrid(spans, 1.00005)}, 1.00005)
    found = formats.read_textgrid(path)
    assert [span.symbol for span in found] == [span.symbol for span in spans]
    for span, fitted in zip(spans, found, strict=True):
        assert fitted.start == pytest.approx(span.start, abs=4e-4)
        assert fitted.end == pytest.approx(span.end, abs=4e-4)
