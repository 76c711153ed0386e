"""Spans, the frame grid, and words from tokens."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espnet_ottc.alignment.spans import FrameGrid, Span, with_unaligned, words_from_tokens


def _tokens(*symbols: str, scores: bool = True) -> list[Span]:
    """Tokens of one second each."""
    return [
        Span(s, float(i), i + 1.0, (i + 1) / 10 if scores else None) for i, s in enumerate(symbols)
    ]


def _text(words: list[Span]) -> list[tuple[str, float, float]]:
    return [(word.symbol, word.start, word.end) for word in words]


@pytest.mark.parametrize(
    ("start", "end", "score", "message"),
    [
        (-0.1, 1.0, None, "0 <= start <= end"),
        (2.0, 1.0, None, "0 <= start <= end"),
        (math.nan, 1.0, None, "finite"),
        (0.0, math.inf, None, "finite"),
        (0.0, 1.0, math.nan, "score must be finite"),
    ],
)
def test_a_span_refuses_impossible_times(
    start: float, end: float, score: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=f"span 'A': .*{message}"):
        Span("A", start, end, score)


def test_a_grid_places_positions_and_clips_them_to_the_utterance() -> None:
    grid = FrameGrid(0.04, offset=-0.01)
    assert grid.seconds(0.0) == 0.0
    assert grid.seconds(2.5) == pytest.approx(0.09)
    assert grid.seconds(100.0, duration=1.5) == 1.5
    assert grid.span("A", 1.0, 99.0, 0.5, duration=1.0) == Span("A", 0.03, 1.0, 0.5)


@given(st.floats(0.001, 1), st.floats(-1, 1), st.floats(0, 1e5))
def test_position_inverts_seconds(shift: float, offset: float, position: float) -> None:
    grid = FrameGrid(shift, offset)
    seconds = grid.offset + shift * position
    assert grid.position(seconds) == pytest.approx(position, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, -0.02, math.nan, math.inf])
def test_a_grid_refuses_a_shift_that_is_not_positive(shift: float) -> None:
    with pytest.raises(ValueError, match="shift must be a positive"):
        FrameGrid(shift)


def test_characters_are_split_at_separators_and_boundary_labels() -> None:
    tokens = _tokens("<space>", "H", "I", "<space>", "|", "Y", "O", "U", "<space>")
    assert _text(words_from_tokens(tokens, "char")) == [("HI", 1, 3), ("YOU", 5, 8)]


def test_a_blank_between_repeated_characters_belongs_to_the_word() -> None:
    words = words_from_tokens(_tokens("S", "E", "<blank>", "E"), "char")
    assert _text(words) == [("SEE", 0, 4)]
    assert words[0].score == pytest.approx((0.1 + 0.2 + 0.4) / 3)


def test_pieces_open_words_at_their_mark_and_a_lone_mark_is_silence() -> None:
    tokens = _tokens("▁", "▁HE", "LLO", "▁", "WORLD", "<blank>", "▁YOU", "▁")
    assert _text(words_from_tokens(tokens, "bpe")) == [
        ("HELLO", 1, 3),
        ("WORLD", 4, 5),
        ("YOU", 6, 7),
    ]


def test_phones_are_words_and_skipped_ones_are_silence() -> None:
    words = words_from_tokens(_tokens("h#", "s", "iy", "h#"), "phn", skip={"h#"})
    assert _text(words) == [("s", 1, 2), ("iy", 2, 3)]


def test_the_text_names_words_that_hold_unknown_characters() -> None:
    tokens = _tokens("<unk>", "<space>", "A", "<unk>")
    assert _text(words_from_tokens(tokens, "char", words=["4", "AÏ"])) == [
        ("4", 0, 1),
        ("AÏ", 2, 4),
    ]


def test_text_with_another_number_of_words_is_refused() -> None:
    with pytest.raises(ValueError, match=r"2 in 'A<space>B', 1 in 'A'"):
        words_from_tokens(_tokens("A", "<space>", "B"), "char", words=["A"])


def test_scores_are_weighted_by_duration_and_absent_where_a_token_has_none() -> None:
    long, short = Span("A", 0.0, 3.0, 0.9), Span("B", 3.0, 4.0, 0.5)
    assert words_from_tokens([long, short], "char")[0].score == pytest.approx(0.8)
    empty = [Span("A", 1.0, 1.0, 0.2), Span("B", 1.0, 1.0, 0.4)]
    assert words_from_tokens(empty, "char")[0].score == pytest.approx(0.3)
    assert words_from_tokens([long, Span("B", 3.0, 4.0)], "char")[0].score is None


def test_an_unknown_token_type_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of char, bpe, word, phn; got 'chr'"):
        words_from_tokens([], "chr")


@given(st.lists(st.text("ABC", min_size=1, max_size=4), max_size=6))
def test_characters_give_back_the_words_they_came_from(words: list[str]) -> None:
    tokens = _tokens(*[token for word in words for token in ("<space>", *word)], "<space>")
    assert [word.symbol for word in words_from_tokens(tokens, "char")] == words


def test_a_token_that_was_not_aligned_lies_between_its_neighbours() -> None:
    tokens = [
        Span("a", 0.1, 0.2),
        Span("l", 0.2, 0.3),
        Span("<blank>", 0.35, 0.4),
        Span("l", 0.4, 0.5),
    ]
    found = with_unaligned(tokens, [" ", "a", "l", " ", "l", " "], " ")
    assert [(one.symbol, one.start, one.end) for one in found] == [
        (" ", 0.1, 0.1), ("a", 0.1, 0.2), ("l", 0.2, 0.3), (" ", 0.3, 0.4), ("l", 0.4, 0.5),
        (" ", 0.5, 0.5),
    ]  # fmt: skip
    assert with_unaligned([], [" "], " ") == [Span(" ", 0.0, 0.0)]
