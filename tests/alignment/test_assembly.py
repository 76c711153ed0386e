"""From labels to given words: wildcards leave their neighbours alone, confidence knows what was said."""

import pytest
import torch
from torch import Tensor

from espnet_ottc.alignment.aligned import DOUBTFUL, NOT_FOUND, OK, WILDCARD_USED
from espnet_ottc.alignment.aligners import AlignmentBatch, make_aligner
from espnet_ottc.alignment.assembly import WILDCARD_TOKEN, Assembled, assemble
from espnet_ottc.alignment.confidence import Calibration, fit_calibration
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.text import Alphabet, Speller, label_text, with_wildcard

TOKENS = ["<blank>", "<space>", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
SPELLER = Speller(Alphabet(frozenset(TOKENS[2:])))
SILENCE = frozenset({0, 1})
GRID = FrameGrid(0.02)


def heard(frames: str, sharpness: float = 5.0, seed: int = 0) -> Tensor:
    """(T, V) log-probabilities of a model that hears these symbols: `_` blank, `|` separator."""
    ids = [TOKENS.index({"_": "<blank>", "|": "<space>"}.get(one, one)) for one in frames]
    scores = torch.randn(len(ids), len(TOKENS), generator=torch.Generator().manual_seed(seed))
    scores[range(len(ids)), ids] += 2 * sharpness
    return scores.log_softmax(1)


def align(text: str, log_probs: Tensor, *, ctc: bool = False, gaps: bool = False) -> Assembled:
    words = SPELLER.spell_text(text)
    labels = label_text(
        words,
        lambda word: [TOKENS.index(letter) for letter in word],
        len(TOKENS),
        separator=1,
        gaps=gaps,
    )
    tokens = list(labels.tokens) if ctc else [1, *labels.tokens, 1]
    batch = AlignmentBatch(
        ["u"],
        with_wildcard(log_probs)[None],
        torch.tensor([len(log_probs)]),
        torch.tensor([tokens]),
        torch.tensor([len(tokens)]),
    )
    aligner = make_aligner("torchaudio_ctc" if ctc else "viterbi")
    found = aligner.align(batch).alignments["u"]
    return assemble(words, labels, found, log_probs, TOKENS, GRID, silence=SILENCE)


SAID = "||AABB|||CCDDCC||EEEFF|||"
PEAKS = "__A__B_|_C__D__C_|_E___F___"


@pytest.mark.parametrize(("frames", "ctc"), [(SAID, False), (PEAKS, True)])
def test_a_word_that_cannot_be_spelled_leaves_its_neighbours_where_they_are(
    frames: str, ctc: bool
) -> None:
    spelled = align("ab cdc ef", heard(frames), ctc=ctc)
    lacking = align("ab цдц ef", heard(frames), ctc=ctc)
    for place in (0, 2):
        assert lacking.words[place].start == spelled.words[place].start
        assert lacking.words[place].end == spelled.words[place].end
        assert lacking.words[place].status == OK
    unknown = lacking.words[1]
    assert unknown.text == "цдц"
    assert unknown.status == WILDCARD_USED
    assert unknown.tokens[0].symbol == WILDCARD_TOKEN
    assert abs(unknown.start - spelled.words[1].start) <= 0.021
    assert abs(unknown.end - spelled.words[1].end) <= 0.021


def test_a_wildcard_keeps_out_of_the_pauses_around_it() -> None:
    found = align("ab цдц ef", heard("||AABB||||||CCDDCC|||||EEEFF|||"))
    assert found.words[1].start == pytest.approx(12 * 0.02)
    assert found.words[1].end == pytest.approx(18 * 0.02)


def test_words_are_the_given_ones_with_what_was_said_for_them() -> None:
    found = align("Ab, 3 ef!", heard("|AABB|TTHHRREEKEE|EEFF||".replace("K", "|")))
    assert [word.text for word in found.words] == ["Ab,", "3", "ef!"]
    assert [word.spoken for word in found.words] == ["AB", "THREE", "EF"]


def test_words_that_were_not_said_are_not_found() -> None:
    found = align("ab xyz ef", heard(SAID))
    assert [word.status for word in found.words] == [OK, NOT_FOUND, OK]
    assert found.words[1].confidence is not None
    assert found.words[1].confidence < 0.1
    assert align("ab cdc ef", heard(SAID)).status == OK
    assert align("gh xyz kl", heard(SAID)).status == NOT_FOUND


def test_text_that_lacks_a_word_is_doubtful_though_its_words_are_there() -> None:
    found = align("ab ef", heard(SAID))
    assert found.status == DOUBTFUL
    assert found.evidence.unexplained > 0.2


def test_silence_with_a_text_is_not_found() -> None:
    found = align("ab cdc", heard("|" * 40))
    assert found.status == NOT_FOUND
    assert {word.status for word in found.words} == {NOT_FOUND}


def test_gaps_take_speech_without_text_between_sentences_and_at_the_ends() -> None:
    frames = "||" + "GGHHIIJJKKLLMMNNOO" + "||AABB|" + "XXYYZZ" * 4 + "|||EEEFF|||"
    found = align("ab. ef", heard(frames), gaps=True)
    assert [word.status for word in found.words] == [OK, OK]
    assert found.status == OK
    assert [(gap.start, gap.end) for gap in found.gaps] == [
        (pytest.approx(0.04), pytest.approx(0.40)),
        (pytest.approx(0.54), pytest.approx(1.02)),
    ]
    assert found.words[0].start == pytest.approx(0.44)
    without = align("ab. ef", heard(frames))
    assert without.status != OK
    assert without.gaps == ()


def test_a_gap_beside_a_word_that_is_not_said_there_makes_the_text_doubtful() -> None:
    words = ["abcd", "efgh", "ijkl", "mnop", "qrst", "uvwx", "zyxw", "vuts"]
    frames = "|" + "|".join("".join(2 * letter.upper() for letter in word) for word in words) + "|"
    # What it lacks lies at an end, as gaps may; or inside.
    trimmed = align(" ".join(words[2:]), heard(frames), gaps=True)
    assert (len(trimmed.gaps), trimmed.status) == (1, OK)
    lacking = align(" ".join([words[0], *words[3:]]), heard(frames), gaps=True)
    assert (len(lacking.gaps), lacking.status) == (1, DOUBTFUL)
    assert lacking.words[0].status == NOT_FOUND
    assert [word.status for word in lacking.words[1:]] == [OK] * 5
    assert lacking.confidence is not None
    assert lacking.confidence > 0.5


def test_gaps_of_silence_are_no_speech() -> None:
    found = align("ab. ef", heard("|" * 40 + "AABB" + "|" * 40 + "EEFF" + "|" * 40), gaps=True)
    assert found.gaps == ()
    assert found.words[1].start == pytest.approx(84 * 0.02)


def test_a_calibration_finds_the_function_that_made_its_examples() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4000, generator=generator)
    right = torch.rand(4000, generator=generator) < (6 * x - 2).sigmoid()
    examples = list(zip(x.tolist(), right.tolist(), strict=True))
    found = fit_calibration(examples, examples)
    assert found.word_slope == pytest.approx(6, abs=0.4)
    assert found.word_offset == pytest.approx(-2, abs=0.25)
    with pytest.raises(ValueError, match="right and of wrong"):
        fit_calibration([(0.5, True)], examples)


def test_confidence_rises_with_likeness_and_falls_with_what_is_unexplained() -> None:
    calibration = Calibration()
    likely = [calibration.word(x / 10) or 0.0 for x in range(11)]
    assert likely == sorted(likely)
    assert likely[0] < 0.01
    assert likely[-1] > 0.98
    assert calibration.word(None) is None
