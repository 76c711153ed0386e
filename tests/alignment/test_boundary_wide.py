"""A recogniser's scores beside a boundary model's, against slow references; and models as tensors."""

import math
import random
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from espnet_ottc.aligner.boundaries import with_boundaries
from espnet_ottc.alignment.aligned import AlignedWord
from espnet_ottc.alignment.assembly import Assembled
from espnet_ottc.alignment.boundary import beside
from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig, Stage
from espnet_ottc.alignment.boundary.features import grid
from espnet_ottc.alignment.boundary.graph import columns_of
from espnet_ottc.alignment.boundary.in_context import ContextNetwork
from espnet_ottc.alignment.boundary.model import BoundaryModel, BoundaryNetwork
from espnet_ottc.alignment.boundary.pieces import (
    Piece,
    _pieces,
    align_alone,
    align_long,
    rough_times,
)
from espnet_ottc.alignment.boundary.units import ANYTHING, OTHER, Units
from espnet_ottc.alignment.boundary.wide import WideOutputs, WideScores
from espnet_ottc.alignment.confidence import Evidence
from espnet_ottc.alignment.spans import FrameGrid, Span
from espnet_ottc.alignment.text import SpelledWord
from espnet_ottc.alignment.text.spelling import WILDCARD
from espnet_ottc.alignment.windows import FrameOutputs

CHARACTERS = ("<blank>", "<unk>", "<space>", "A", "B", "É", "'", "<word_break>")
QUIET = frozenset({2, 7})


def _model(units=("a", "b"), lexicon=None, **options):
    config = BoundaryConfig(mels=4, width=8, **options)
    inventory = Units(units, lexicon)
    torch.manual_seed(5)
    columns = columns_of(len(inventory.names), config)
    network = BoundaryNetwork(config, 0, columns).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    prior = torch.full((columns,), -math.log(columns))
    return BoundaryModel(config, inventory, network, prior, torch.full((columns,), 0.6))


def _outputs(tokens=CHARACTERS, silence=QUIET, frames=7, shift=0.04, offset=-0.01):
    generator = torch.Generator().manual_seed(3)
    log_probs = torch.randn(frames, len(tokens), generator=generator).mul(3).log_softmax(1)
    return WideOutputs(log_probs, FrameGrid(shift, offset), tokens, silence, 0)


def _slow(outputs, spelled, frame, hop=0.01):
    """log Σ p(token) over the tokens of a unit, interpolated between frames."""
    p = outputs.log_probs.double().exp()
    place = ((frame + 0.5) * hop - outputs.grid.offset) / outputs.grid.shift - 0.5
    place = min(max(place, 0.0), len(p) - 1.0)
    before = math.floor(place)
    behind = min(before + 1, len(p) - 1)
    values = [sum(float(p[t, token]) for token in spelled) for t in (before, behind)]
    value = values[0] + (place - before) * (values[1] - values[0])
    return max(math.log(value), -12.0)


def test_letters_have_the_probability_of_their_tokens_and_the_blanks():
    model, outputs = _model(), _outputs()
    found = WideScores(model, outputs)(range(29))
    # É is spelled by no unit, so that it is what other letters are.
    tokens = {"a": [0, 3], "b": [0, 4], OTHER: [0, 5, 6], "<sil>": [0, 2, 7]}
    states = model.config.states
    for frame in (0, 3, 4, 17, 28):
        for number, unit in enumerate(model.units.names):
            expected = _slow(outputs, tokens[unit], frame)
            for column in range(number * states, min((number + 1) * states, found.shape[1])):
                assert math.isclose(float(found[frame, column]), expected, abs_tol=1e-4), unit


def test_a_piece_of_a_word_speaks_for_each_of_its_letters():
    tokens = ("<blank>", "▁AB", "B", "▁A")
    found = WideScores(_model(), (outputs := _outputs(tokens, frozenset())))(range(12))
    assert math.isclose(float(found[5, 0]), _slow(outputs, [0, 1, 3], 5), abs_tol=1e-4)
    assert math.isclose(float(found[5, 3]), _slow(outputs, [0, 1, 2], 5), abs_tol=1e-4)


def test_a_letter_speaks_for_the_units_that_words_have_of_it():
    model, outputs = _model(("a", "b", "a ab 0", "b ab 0")), _outputs()
    found = WideScores(model, outputs)(range(12))
    for own, plain in ((2, 0), (3, 1)):
        assert torch.equal(found[:, 3 * own : 3 * own + 3], found[:, 3 * plain : 3 * plain + 3])
    assert not torch.equal(found[:, 0], found[:, 3])
    # Whoever reads the times sees letters.
    aligned = align_features(model, torch.randn(40, 4), ["AB", "BA"], 0.4)
    assert [span.symbol for span in aligned.tokens] == ["a", "b", "b", "a"]


def test_words_that_are_units_have_their_own_token():
    words = {"ab": (("ab",),), "ba": (("ba",),)}
    model = _model(("ab", "ba"), words)
    outputs = _outputs(("<blank>", "ba", "ab"), frozenset())
    found = WideScores(model, outputs)(range(12))
    assert math.isclose(float(found[5, 0]), _slow(outputs, [0, 2], 5), abs_tol=1e-4)
    assert math.isclose(float(found[5, 3]), _slow(outputs, [0, 1], 5), abs_tol=1e-4)


def test_phones_beside_letters_have_the_probability_of_speech():
    model = _model(("EY", "B"), {"a": (("EY",),), "b": (("B",),)})
    outputs = _outputs(("<blank>", "<space>", "x", "y"), frozenset({1}))
    found = WideScores(model, outputs)(range(12))
    assert math.isclose(float(found[5, 0]), _slow(outputs, [0, 2, 3], 5), abs_tol=1e-4)


def test_what_is_impossible_for_the_recogniser_stays_possible():
    outputs = _outputs()
    sure = torch.full_like(outputs.log_probs, -torch.inf)
    sure[:, 3] = 0.0
    found = WideScores(_model(), replace(outputs, log_probs=sure))(range(12))
    assert float(found[:, 0].min()) == 0.0
    assert float(found[:, 3].max()) == -12.0


def test_what_a_recogniser_says_about_some_frames_is_that_of_all() -> None:
    model = _model()
    tokens = ("<blank>", "a", "b")
    said = torch.randn(10, 3, generator=torch.Generator().manual_seed(3)).log_softmax(1)
    wide = WideScores(model, replace(_outputs(tokens, frozenset()), log_probs=said))
    whole = wide(range(31))
    for frames in (range(0, 1), range(5, 17), range(28, 31), range(4, 4)):
        torch.testing.assert_close(wide(frames), whole[frames.start : frames.stop])


def test_one_search_adds_both_scores():
    model = _model(noise=0.0, median=False, start_shift=0.0, end_shift=0.0, join_shift=0.0)
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    wide = torch.zeros(40, len(model.log_prior))
    # The recogniser is sure of b from frame 25 on, and of no silence.
    wide[:, 9:] = -1000.0
    wide[:25, 3:6] = wide[25:, 0:3] = -1000.0
    alone = align_features(model, features, ["a", "b"], 0.4)
    both = align_features(model, features, ["a", "b"], 0.4, wide)
    assert both.words[1].start == pytest.approx(0.25)
    assert alone.words[1].start != pytest.approx(0.25)


def test_features_of_a_part_give_times_of_the_whole():
    model = _model(noise=0.0)
    samples = torch.randn(9600, generator=torch.Generator().manual_seed(1))[3200:]
    outputs = _outputs(frames=20)
    recogniser = SimpleNamespace(
        sampling_rate=16000,
        grid=outputs.grid,
        tokens=CHARACTERS,
        blank=0,
        boundary=7,
        separator=2,
        null=None,
    )
    words = [SpelledWord("A", ("A",)), SpelledWord("B", ("B",))]
    roughly = tuple(AlignedWord(word.given, 0.3, 0.5) for word in words)
    found = Assembled(roughly, (), Evidence((1.0, 1.0), 0.0, 9), 1.0, "ok")
    heard = FrameOutputs(outputs.log_probs)
    part = with_boundaries(found, words, model, samples, recogniser, heard, duration=0.4, start=0.2)
    wide = WideScores(model, outputs)(range(20, 60))
    features = model.features(samples, 16000)
    expected = align_features(model, features, ["A", "B"], 0.4, wide)
    for word, span in zip(part.words, expected.words, strict=True):
        assert word.start == pytest.approx(span.start + 0.2)
        assert word.end == pytest.approx(span.end + 0.2)
    first, interval = part.words[0], expected.start_intervals[0]
    assert first.start_interval == pytest.approx((interval[0] + 0.2, interval[1] + 0.2))
    assert first.tokens[0].start == pytest.approx(first.start)


def test_where_two_words_meet_their_boundary_is_earlier_and_nowhere_else():
    plain = _model(noise=0.0, median=False, join_shift=0.0)
    model = _model(noise=0.0, median=False, join_shift=0.004)
    features = torch.randn(40, 4, generator=torch.Generator().manual_seed(1))
    wide = torch.zeros(40, len(model.log_prior))
    wide[:, 9:] = -1000.0
    wide[:25, 3:6] = wide[25:, 0:3] = -1000.0
    before, after = (align_features(one, features, ["a", "b"], 0.4, wide) for one in (plain, model))
    assert before.words[0].end == before.words[1].start == pytest.approx(0.25)
    assert after.words[0].end == after.words[1].start == pytest.approx(0.246)
    assert after.words[0].start == before.words[0].start
    assert after.words[1].end == before.words[1].end


def _planted(words: str, model: BoundaryModel) -> torch.Tensor:
    """(T, columns) log-probabilities for ten frames of each letter; `?` fits nothing, `_` is silence."""
    rows = []
    for letter in words:
        row = torch.full((len(model.log_prior),), -4.0)
        if letter == "_":
            row[model.config.states * model.units.silence :] = 2.0
        elif letter != "?":
            first = model.config.states * model.units.names.index(letter)
            row[first : first + model.config.states] = 2.0
        rows += [row] * 10
    return torch.stack(rows) + model.log_prior


@pytest.mark.parametrize(
    ("planted", "words"),
    [("_ab??ba_", ["ab", WILDCARD, "ba"]), ("_a?b_", ["a" + WILDCARD + "b"])],
)
def test_what_cannot_be_spelled_takes_what_its_neighbours_leave(planted, words):
    model = _model(noise=0.0, median=False, start_shift=0.0, end_shift=0.0, join_shift=0.0)
    heard = _planted(planted, model)
    model = replace(model, network=SimpleNamespace(log_probs=lambda features: features))
    found = align_features(model, heard, words, len(heard) / 100)
    letters = planted.strip("_").replace("??", "?")
    assert [one.symbol for one in found.tokens] == [
        ANYTHING if letter == "?" else letter for letter in letters
    ]
    place = 0.1
    for one, letter in zip(found.tokens, letters, strict=True):
        assert one.start == pytest.approx(place)
        place += 0.2 if letter == "?" and "??" in planted else 0.1
        assert one.end == pytest.approx(place)


def test_letters_that_were_never_heard_are_as_likely_as_anything():
    model = _model(durations=0.0)
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    states = model.config.states
    other = slice(2 * states, 3 * states)
    assert not model.knows_other
    graph = model.graph(["ab"])
    assert not model.scores(features, graph)[:, other].any()
    assert model.scores(features, graph)[:, :2].all()
    prior = model.log_prior.clone()
    prior[other] = torch.arange(-5.0, -5.0 + states)
    heard = replace(model, log_prior=prior)
    assert heard.knows_other
    assert heard.scores(features, graph)[:, other].all()


def test_pieces_end_in_the_longest_pause_of_their_second_half():
    words = [(0.0, 4.0), (4.5, 6.0), (6.2, 9.0), (9.1, 12.0), (14.0, 19.0)]
    assert _pieces(words, 20.0, 10.0) == [(0, 2, 0.0, 6.1), (2, 4, 6.1, 13.0), (4, 5, 13.0, 20.0)]
    # A word that is longer than a piece stays whole.
    assert _pieces([(0.0, 15.0), (15.2, 16.0)], 16.0, 5.0) == [
        (0, 1, 0.0, 15.1),
        (1, 2, 15.1, 16.0),
    ]


def test_pieces_give_what_the_whole_gives_where_pauses_are_clear():
    model = _model(noise=0.0)
    features = torch.randn(400, 4, generator=torch.Generator().manual_seed(1))
    wide = torch.zeros(400, len(model.log_prior))
    spoken = [(0.5, 0.8), (1.5, 1.9), (2.5, 3.0), (3.4, 3.8)]
    quiet = torch.ones(400, dtype=torch.bool)
    for number, (start, end) in enumerate(spoken):
        frames = slice(round(start * 100), round(end * 100))
        quiet[frames] = False
        wide[frames] = -1000.0
        wide[frames, 3 * (number % 2) : 3 * (number % 2) + 3] = 0.0
    wide[quiet] = -1000.0
    wide[quiet, 9:] = 0.0
    words = ["a", "b", "a", "b"]
    whole = align_features(model, features, words, 4.0, wide)
    asked: list[range] = []

    def search(piece: Piece) -> BoundaryAlignment | str:
        asked.append(piece.frames)
        heard, said = piece.frames_of(features), piece.words_of(words)
        return align_features(model, heard, said, piece.duration, piece.frames_of(wide))

    utterance = Piece(range(4), range(400), 0.0, 4.0)
    cut = align_long(search, utterance, grid(model.config), spoken, longest=1.5)
    # What a recogniser says about an hour is never held at once.
    assert max(map(len, asked)) <= 150
    assert [frame for frames in asked for frame in frames] == list(range(400))
    for name in ("words", "tokens"):
        for one, other in zip(getattr(whole, name), getattr(cut, name), strict=True):
            assert one.symbol == other.symbol
            assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=1e-6)
    assert cut.token_words == whole.token_words
    assert cut.word_scores == pytest.approx(whole.word_scores)
    assert torch.tensor(cut.start_intervals).allclose(torch.tensor(whole.start_intervals))


def test_without_a_recogniser_a_rough_search_finds_the_pauses_to_cut_in():
    model = _model(noise=0.0)
    model = replace(model, network=SimpleNamespace(log_probs=lambda features: features))
    draw = random.Random(2)
    words = ["".join(draw.choices("ab", k=draw.randint(1, 5))) for _ in range(40)]
    planted = "_".join(["", *words, ""])
    generator = torch.Generator().manual_seed(4)
    heard = _planted(planted, model) + torch.randn(10 * len(planted), 1, generator=generator)
    heard += 0.5 * torch.randn(heard.shape, generator=generator)
    duration = len(heard) / 100
    roughly = rough_times(model, heard, words, duration)
    place = 0.1
    for (start, end), word in zip(roughly, words, strict=True):
        assert start == pytest.approx(place, abs=0.03)
        assert end == pytest.approx(place + 0.1 * len(word), abs=0.03)
        place = place + 0.1 * len(word) + 0.1
    whole = align_features(model, heard, words, duration)
    cut = align_alone(model, heard, words, duration, longest=2.0, piece=2.0)
    for one, other in zip(whole.words, cut.words, strict=True):
        assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=1e-4)
    assert cut.score == pytest.approx(whole.score, abs=0.01)
    assert align_alone(model, heard, words, duration) == whole
    # Where no path can be, the reason is that of the whole.
    assert "its words need" in align_alone(model, heard[:30], words, 0.3, longest=0.1)


def test_a_model_as_tensors_is_the_same_model():
    model = _model(lexicon={"ab": (("a", "b"),)})
    tensors = model.to_tensors()
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    again = BoundaryModel.from_tensors({name: value.double() for name, value in tensors.items()})
    assert (again.config, again.units.names) == (model.config, model.units.names)
    assert again.units.lexicon == model.units.lexicon
    features = torch.randn(9, 4)
    graph = model.graph(["ab"])
    assert torch.equal(again.scores(features, graph), model.scores(features, graph))
    del tensors["log_prior"]
    with pytest.raises(ValueError, match="not the tensors of a boundary model"):
        BoundaryModel.from_tensors(tensors)


@pytest.mark.parametrize(
    ("covers", "loud", "misled"),
    [
        (0.1, None, False),
        (0.2, None, True),
        # An s that goes on into the word, and the same behind a moment of quiet.
        (0.2, (0.9, 1.4), False),
        (0.2, (0.9, 1.0), True),
        # Longer than any s.
        (0.45, (0.65, 1.4), True),
    ],
)
def test_a_pause_that_a_word_covers_is_made_short_and_quiet(
    monkeypatch: pytest.MonkeyPatch, covers: float, loud: tuple[float, float] | None, misled: bool
) -> None:
    # The recogniser hears A from 0.2 to 0.5 s, and B from 1.1 to 1.4 s.
    model, rate = _model(), 16000
    samples = 0.1 * torch.randn(round(1.6 * rate), generator=torch.Generator().manual_seed(1))
    if loud is not None:
        first, last = (round(second * rate) for second in loud)
        samples[:first] *= 0.01
        samples[last:] *= 0.01
    roughly = [(0.2, 0.5), (1.1, 1.4)]
    given = []

    def search(model, features, words, duration, wide):
        given.append((features, duration, wide))
        again = len(given) == 2
        spans = [
            Span("A", 0.2, 0.5),
            Span("B", 0.8 - 0.01 if again else 1.1 - covers, 1.1 if again else 1.4),
        ]
        near = [(span.start - 0.01, span.start + 0.01) for span in spans]
        return BoundaryAlignment(
            spans, spans, [0, 1], near, [(s.end, s.end) for s in spans], [1, 1], 1
        )

    monkeypatch.setattr(beside, "align_features", search)
    outputs = _outputs(frames=40)
    found = beside.align_beside(model, samples, rate, ["A", "B"], outputs, roughly, duration=1.6)
    assert len(given) == 1 + misled
    if not misled:
        assert found.words[1].start == pytest.approx(1.1 - covers)
        return
    # The pause had 0.6 s; 50 ms beside either word and twice 0.1 s are left of it.
    (features, duration, wide), (short, left, heard) = given
    assert (duration, left) == (1.6, pytest.approx(1.3))
    assert len(short) == len(heard) == len(features) - 30
    torch.testing.assert_close(heard[:65], wide[:65])
    torch.testing.assert_close(heard[65:], wide[95:])
    assert found.words[1].start == pytest.approx(1.09)
    assert found.words[1].end == found.tokens[1].end == pytest.approx(1.4)
    assert found.start_intervals[1] == (pytest.approx(1.08), pytest.approx(1.1))
    assert found.words[0] == Span("A", 0.2, 0.5)


def test_of_a_long_utterance_only_the_pieces_with_covered_pauses_are_searched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Words of 0.3 s, of which the first begins at 0.2 s, each 0.9 s behind the one before.
    model, rate, count = _model(), 16000, 6
    roughly = [(0.2 + 0.9 * k, 0.5 + 0.9 * k) for k in range(count)]
    samples = 0.1 * torch.randn(round(5.3 * rate), generator=torch.Generator().manual_seed(1))
    asked: list[tuple[str, ...]] = []

    def search(model, features, words, duration, wide):
        again = tuple(words) in asked
        asked.append(tuple(words))
        first = int(words[0])
        # Pieces are cut in the middle of pauses; word 3 takes in the 0.3 s before it in its piece.
        offset = 0.9 * first - 0.1 if first else 0.0
        heard = [(start - offset, end - offset) for start, end in roughly][
            first : first + len(words)
        ]
        early = 0.25 if "3" in words and not again else 0.0
        spans = [
            Span(word, start - (early if word == "3" else 0.0), end)
            for word, (start, end) in zip(words, heard, strict=True)
        ]
        near = [(span.start, span.start) for span in spans]
        return BoundaryAlignment(
            spans, spans, [*range(len(words))], near, near, [1] * len(words), 1
        )

    monkeypatch.setattr(beside, "align_features", search)
    monkeypatch.setattr(beside, "align_long", partial(align_long, longest=2.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    words = [str(k) for k in range(count)]
    found = beside.align_beside(
        model, samples, rate, words, _outputs(frames=130), roughly, duration=5.3
    )
    (twice,) = {one for one in asked if asked.count(one) == 2}
    assert "3" in twice
    assert len(asked) == len({*asked}) + 1 > 2
    for word, (start, end) in zip(found.words, roughly, strict=True):
        if word.symbol not in twice:
            assert (word.start, word.end) == (pytest.approx(start), pytest.approx(end))


def test_a_text_that_no_letter_spells_is_aligned_between_neighbours_too() -> None:
    config = BoundaryConfig(mels=4, width=8, stages=(Stage(), Stage(neighbours=2)))
    units = Units(["a", "b"])
    network = ContextNetwork(config, 0, 2, units.silence).eval()
    columns = columns_of(len(units.names), config)
    model = BoundaryModel(config, units, network, torch.zeros(columns), torch.full((columns,), 0.5))
    found = align_features(model, torch.randn(40, 4), [WILDCARD], 0.4)
    assert not isinstance(found, str)
    assert [token.symbol for token in found.tokens] == [ANYTHING]
