"""The OTTC head in plain PyTorch: its loss, its labels, its times."""

import math
import subprocess
import sys

import pytest
import torch

from espnet_ottc import OTTCHead, ottc_loss
from espnet_ottc.alignment.spans import words_from_tokens
from espnet_ottc.ops.flat_start import flat_start_loss
from espnet_ottc.ops.regularizers import kl_to_uniform, roughness

SYMBOLS = ["<pad>", "|", "A", "B", "C"]
WIDTH = 6


def head(**options) -> OTTCHead:
    torch.manual_seed(1)
    made = OTTCHead(WIDTH, SYMBOLS, boundary="|", **options).eval()
    torch.nn.init.normal_(made.frame_head.output.bias)  # it starts from uniform weights: too easy
    return made


def planted(frames: list[str], **options) -> tuple[OTTCHead, torch.Tensor]:
    """A head whose label scores are its input, and frames that say a symbol each."""
    made = OTTCHead(len(SYMBOLS), SYMBOLS, **(options or {"boundary": "|"})).eval()
    with torch.no_grad():
        made.label_head.weight.copy_(torch.eye(len(SYMBOLS)))
        made.label_head.bias.zero_()
    ids = torch.tensor([SYMBOLS.index(symbol) for symbol in frames])
    return made, 9.0 * torch.nn.functional.one_hot(ids, len(SYMBOLS)).float()[None]


def test_the_loss_is_that_of_the_sequence_with_boundary_labels_and_blanks_and_the_penalties():
    made, hidden = head(), torch.randn(2, 9, WIDTH)
    lengths = torch.tensor([9, 7])
    found = made.loss(hidden, lengths, torch.tensor([[2, 2, 3], [4, -100, -100]]))
    logits, frames = made(hidden)
    targets = torch.tensor([[1, 2, 0, 2, 3, 1], [1, 4, 1, 0, 0, 0]])
    expected = ottc_loss(logits, frames, targets, lengths, torch.tensor([6, 3]))
    expected = expected + 0.1 * kl_to_uniform(frames, lengths).mean()
    expected = expected + roughness(frames, lengths).mean()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scale", ["utterance", "labels", "frames"])
def test_penalties_and_flat_start_are_in_the_unit_of_the_loss(scale):
    made, hidden = head(scale=scale, dropout=0.0).train(), torch.randn(1, 8, WIDTH)
    made.flat_start = 0.25
    found = made.loss(hidden, None, torch.tensor([[2, 3]]))
    logits, frames = made(hidden)
    lengths, counts = torch.tensor([8]), torch.tensor([4])
    targets = torch.tensor([[1, 2, 3, 1]])
    one = 0.75 * ottc_loss(logits, frames, targets, lengths, counts)
    one = one + 0.25 * flat_start_loss(logits, frames, targets, lengths, counts)[0]
    one = one + 0.1 * kl_to_uniform(frames, lengths)[0] + roughness(frames, lengths)[0]
    unit = {"utterance": 1, "labels": 4, "frames": 8}[scale]
    torch.testing.assert_close(found, unit * one)


@pytest.mark.parametrize(
    ("options", "sought"),
    [
        ({}, [[0, 2, 0, 2, 1, 3, 0], [0, 4, 0]]),
        ({"unaligned": "|"}, [[0, 2, 0, 2, 0, 3, 0], [0, 4, 0]]),
        ({"boundary": "|"}, [[1, 2, 0, 2, 1, 3, 1], [1, 4, 1]]),
    ],
    ids=["at both ends", "between words", "where no boundary label is"],
)
def test_in_a_flat_start_pauses_are_the_null_labels(options, sought):
    torch.manual_seed(1)
    made = OTTCHead(WIDTH, SYMBOLS, null_capacity=0.6, dropout=0.0, kl_weight=0.0,
                    roughness_weight=0.0, **options)  # fmt: skip
    made.flat_start = 1.0
    hidden, lengths = torch.randn(2, 9, WIDTH), torch.tensor([9, 7])
    found = made.loss(hidden, lengths, torch.tensor([[2, 2, 1, 3], [4, -100, -100, -100]]))
    logits, frames = made(hidden)
    expected = [
        flat_start_loss(logits[b : b + 1], frames[b : b + 1], torch.tensor([labels]),
                        lengths[b : b + 1], torch.tensor([len(labels)]))
        for b, labels in enumerate(sought)
    ]  # fmt: skip
    torch.testing.assert_close(found, torch.cat(expected).mean())


def test_an_unaligned_label_gets_no_mass_and_the_time_that_its_neighbours_leave():
    frames = [{"_": "<pad>"}.get(letter, letter) for letter in "__AABB__BC_"]
    made, hidden = planted(frames, null_capacity=0.6, unaligned="|")
    labels = torch.tensor([[2, 3, 1, 3, 4]])
    targets, counts = made.targets(labels)
    assert targets[0, : counts[0]].tolist() == [2, 3, 0, 3, 4]
    (spans,) = made.align(hidden, None, labels, frame_shift=0.5)
    assert [span.symbol for span in spans] == ["A", "B", "|", "B", "C"]
    found = [(span.start, span.end) for span in spans]
    wanted = [(1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 4.5), (4.5, 5.0)]
    assert found == [pytest.approx(times, abs=1e-3) for times in wanted]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unaligned": "|"}, "unaligned needs a null_capacity"),
        ({"unaligned": "<pad>", "null_capacity": 0.5}, "neither blank nor boundary"),
        ({"unaligned": 1, "boundary": 1, "null_capacity": 0.5}, "neither blank nor boundary"),
        ({"unaligned": "X", "null_capacity": 0.5}, "unaligned must be one of the vocabulary"),
    ],
)
def test_an_unaligned_label_needs_a_place_for_its_pauses(options, message):
    with pytest.raises(ValueError, match=message):
        OTTCHead(WIDTH, SYMBOLS, **options)


def test_negative_ids_are_padding_wherever_they_stand_as_are_labels_beyond_the_lengths():
    made, hidden = head(), torch.randn(1, 9, WIDTH)
    plain = made.loss(hidden, None, torch.tensor([[2, 3]]))
    assert made.loss(hidden, None, torch.tensor([[-100, 2, -1, 3, -100]])) == plain
    assert made.loss(hidden, None, torch.tensor([[2, 3, 0, 0]]), torch.tensor([2])) == plain


def test_padding_of_frames_changes_nothing():
    made, hidden = head(), torch.randn(2, 9, WIDTH)
    labels, lengths = torch.tensor([[2, 3], [4, -100]]), torch.tensor([9, 6])
    before = made.loss(hidden, lengths, labels), made.decode(hidden, lengths)
    hidden[1, 6:] = 1e3
    assert made.loss(hidden, lengths, labels) == before[0]
    assert made.decode(hidden, lengths) == before[1]


def test_frame_weights_start_uniform_and_learn():
    torch.manual_seed(2)
    made = OTTCHead(WIDTH, 5)
    hidden = torch.randn(2, 4, WIDTH)
    alpha = made.alpha(hidden, torch.tensor([4, 2]))
    expected = torch.tensor([[0.25] * 4, [0.5, 0.5, 0, 0]])
    torch.testing.assert_close(alpha, expected)
    made.loss(hidden, None, torch.tensor([[2, 3], [4, 1]])).backward()
    assert made.frame_head.output.bias.grad.abs().sum() > 0


def test_decoding_and_alignment_find_what_was_planted():
    made, hidden = planted(list("||AABB||CC||"))
    found = made.decode(hidden)
    assert found == [[2, 3, 1, 4]]
    spans = made.align(hidden, labels=torch.tensor([[2, 3, 1, 4, -100]]), frame_shift=0.02)
    assert [(s.symbol, round(s.start, 6), round(s.end, 6)) for s in spans[0]] == [
        ("A", 0.04, 0.08), ("B", 0.08, 0.12), ("|", 0.12, 0.16), ("C", 0.16, 0.2),
    ]  # fmt: skip
    words = words_from_tokens(spans[0], "char")
    assert [(w.symbol, round(w.start, 6)) for w in words] == [("AB", 0.04), ("C", 0.16)]
    assert made.align(hidden, frame_shift=0.02) == spans  # what it decodes


def test_spans_are_one_for_each_label_without_the_blanks_between_equal_ones():
    made, hidden = planted(["|", "A", "A", "<pad>", "A", "|"])
    spans = made.align(hidden, labels=[[2, 2]], frame_shift=0.5, offset=1.0)[0]
    assert [(s.symbol, s.start, s.end) for s in spans] == [("A", 1.5, 2.5), ("A", 3.0, 3.5)]


def test_boundary_labels_of_the_caller_are_kept_and_an_empty_text_has_no_spans():
    made, hidden = planted(["|", "A", "|", "|"])
    spans = made.align(hidden, labels=[[1, 2]], frame_shift=1.0)[0]
    assert [s.symbol for s in spans] == ["|", "A"]
    assert made.align(hidden, labels=[[]], frame_shift=1.0) == [[]]
    made, hidden = planted(["|", "|"])
    assert made.decode(hidden) == [[]]


def test_the_transport_reads_times_off_the_frame_weights():
    made, hidden = planted(["|", "|", "A", "A", "|", "|"])
    span = made.align(hidden, labels=[[2]], frame_shift=1.0, aligner="transport")[0][0]
    assert (span.start, span.end) == (pytest.approx(2.0), pytest.approx(4.0))


def test_a_number_of_labels_names_them_by_their_ids():
    made = OTTCHead(WIDTH, 4)
    spans = made.align(torch.randn(1, 5, WIDTH), labels=[[3, 1]], frame_shift=1.0)
    assert [span.symbol for span in spans[0]] == ["3", "1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocabulary": 1}, "two labels or more"),
        ({"vocabulary": ["a", "a"]}, "all different"),
        ({"boundary": "|", "vocabulary": 5}, "one of the vocabulary's symbols"),
        ({"boundary": 5}, r"an id in \[0, 5\)"),
        ({"boundary": 0}, "must not be the blank"),
        ({"blank": -1}, "blank must be an id"),
        ({"kl_weight": -1.0}, "kl_weight must not be negative"),
        ({"roughness_weight": math.nan}, "roughness_weight must not be negative"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        OTTCHead(**{"hidden": WIDTH, "vocabulary": 5, **options})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[2], [5]], "utterance 1: labels must be ids below 5"),
        ([[2], [0]], "utterance 1: labels must not hold the blank"),
    ],
)
def test_labels_that_cannot_be_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        head().loss(torch.randn(2, 4, WIDTH), None, torch.tensor(labels))


def test_an_utterance_that_cannot_be_aligned_is_named():
    hidden, lengths = torch.randn(2, 4, WIDTH), torch.tensor([4, 2])
    with pytest.raises(ValueError, match="utterance 1: 3 labels need at least as many frames"):
        head().align(hidden, lengths, [[2, 3], [2]], frame_shift=1.0)
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, 4\]"):
        head().decode(hidden, torch.tensor([4, 5]))


def test_half_precision_and_autocast_train():
    hidden, labels = torch.randn(2, 6, WIDTH), torch.tensor([[2], [3]])
    exact = head().loss(hidden, None, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = head().loss(hidden, None, labels)
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.0)
    half = head().to(torch.bfloat16)
    half.loss(hidden.bfloat16(), None, labels).backward()
    assert half.label_head.weight.grad.isfinite().all()
    assert half.decode(hidden.bfloat16())


def test_the_head_needs_pytorch_alone():
    blocked = "espnet2 lhotse numpy praatio soundfile torchaudio kaldialign transformers"
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked.split()!r}))\n"
        "import torch; from espnet_ottc import OTTCHead\n"
        "head = OTTCHead(4, ['-', '|', 'a'], boundary='|').eval()\n"
        "hidden = torch.randn(1, 9, 4); head.loss(hidden, None, torch.tensor([[2]])).backward()\n"
        "print(head.decode(hidden), head.align(hidden, labels=[[2]], frame_shift=0.02))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
