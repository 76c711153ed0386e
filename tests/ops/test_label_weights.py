"""label_weights: the constraint, uniform weights, run lengths, and weights learnt with a floor."""

from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import reference_plan, tolerance
from torch import Tensor

from espnet_ottc.ops.label_weights import (
    EstimatedLabelWeights,
    LearnedLabelWeights,
    run_length_label_weights,
)
from espnet_ottc.ops.targets import collapse, insert_blanks
from espnet_ottc.ops.weights import check_label_weights, uniform_label_weights

BLANK = 0
JUNK = -1

seeded = settings(max_examples=150)
path_lists = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4)


def padded(sequences: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, sequences))
    rows = [sequence + [JUNK] * (width - len(sequence)) for sequence in sequences]
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), width), lengths


# The constraint.


def test_weights_on_the_simplex_are_accepted_whatever_stands_in_the_padding() -> None:
    weights = torch.tensor([[0.5, 0.5, float("nan")], [0.2, 0.3, 0.5], [-1.0, -1.0, -1.0]])
    check_label_weights(weights, torch.tensor([2, 3, 0]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.0, 0.5], "utterance 1: label_weights must be finite and be at least"),
        ([1.5, -0.5, 0.0], "utterance 1: label_weights must be finite and be at least"),
        ([0.5, float("nan"), 0.5], "utterance 1: label_weights must be finite"),
        ([0.5, 0.1, 0.1], "utterance 1: label_weights must sum to 1"),
    ],
)
def test_weights_off_the_simplex_are_refused(row: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_label_weights(torch.tensor([[0.2, 0.3, 0.5], row]), torch.tensor([3, 3]))


def test_weights_of_a_wrong_dtype_or_shape_are_refused() -> None:
    with pytest.raises(TypeError, match="label_weights must be floating point"):
        check_label_weights(torch.ones((1, 1), dtype=torch.int64), torch.tensor([1]))
    with pytest.raises(ValueError, match="label_weights must have 2 dimensions"):
        check_label_weights(torch.ones(1), torch.tensor([1]))
    with pytest.raises(ValueError, match="lengths must lie in"):
        check_label_weights(torch.ones((1, 1)), torch.tensor([2]))


# Uniform.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_uniform_weights_are_one_over_the_number_of_labels(dtype: torch.dtype) -> None:
    lengths = torch.tensor([1, 4, 0])
    weights = uniform_label_weights(lengths, 5, dtype=dtype)
    assert weights.dtype == dtype
    assert weights.tolist() == [[1, 0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25, 0], [0, 0, 0, 0, 0]]
    check_label_weights(weights, lengths)


def test_uniform_weights_go_to_the_device_asked_for() -> None:
    assert uniform_label_weights(torch.tensor([2]), 2, device="meta").device.type == "meta"


# Run lengths.


def test_the_papers_example_yes_has_its_weights() -> None:
    Y, E, S = 1, 2, 3
    alignment = torch.tensor([[BLANK, Y, BLANK, BLANK, E, E, S]])
    labels, lengths, weights = run_length_label_weights(alignment, torch.tensor([7]))
    assert lengths.tolist() == [5]
    assert labels[0, :5].tolist() == [BLANK, Y, BLANK, E, S]
    expected = torch.tensor([1, 1, 2, 2, 1]) / 7
    torch.testing.assert_close(weights[0, :5], expected)


def test_the_papers_example_without_blanks_is_renormalised() -> None:
    alignment = torch.tensor([[BLANK, 1, BLANK, BLANK, 2, 2, 3]])
    labels, lengths, weights = run_length_label_weights(
        alignment, torch.tensor([7]), keep_blanks=False
    )
    assert labels[0, : int(lengths)].tolist() == [1, 2, 3]
    torch.testing.assert_close(weights[0, :3], torch.tensor([0.25, 0.5, 0.25]))


def test_a_blank_run_between_equal_labels_stays_when_blanks_are_left_out() -> None:
    alignment = torch.tensor([[BLANK, 1, BLANK, BLANK, 1, BLANK, 2]])
    labels, lengths, weights = run_length_label_weights(
        alignment, torch.tensor([7]), keep_blanks=False
    )
    assert labels[0, : int(lengths)].tolist() == [1, BLANK, 1, 2]
    torch.testing.assert_close(weights[0, :4], torch.tensor([0.2, 0.4, 0.2, 0.2]))


@seeded
@given(path_lists)
def test_run_lengths_with_blanks_equal_groupby(paths: list[list[int]]) -> None:
    labels, lengths, weights = run_length_label_weights(*padded(paths), dtype=torch.float64)
    for b, path in enumerate(paths):
        runs = [(label, len(list(frames))) for label, frames in groupby(path)]
        U = int(lengths[b])
        assert labels[b, :U].tolist() == [label for label, _ in runs]
        assert weights[b, :U].tolist() == pytest.approx([count / len(path) for _, count in runs])
        assert (labels[b, U:] == BLANK).all()
        assert (weights[b, U:] == 0).all()
    check_label_weights(weights, lengths)


@seeded
@given(path_lists)
def test_labels_without_blanks_are_the_separated_collapsed_path(paths: list[list[int]]) -> None:
    alignment, frames = padded(paths)
    labels, lengths, weights = run_length_label_weights(alignment, frames, keep_blanks=False)
    expected, expected_lengths = insert_blanks(*collapse(alignment, frames))
    assert lengths.tolist() == expected_lengths.tolist()
    for b, U in enumerate(lengths.tolist()):
        assert labels[b, :U].tolist() == expected[b, :U].tolist()
    check_label_weights(weights, lengths)
    assert (weights[torch.arange(weights.shape[1]) >= lengths[:, None]] == 0).all()


@seeded
@given(path_lists)
def test_weights_without_blanks_are_the_kept_runs_shares(paths: list[list[int]]) -> None:
    _, lengths, weights = run_length_label_weights(
        *padded(paths), keep_blanks=False, dtype=torch.float64
    )
    for b, path in enumerate(paths):
        runs = [(label, len(list(frames))) for label, frames in groupby(path)]
        kept = [
            count
            for k, (label, count) in enumerate(runs)
            if label != BLANK or (0 < k < len(runs) - 1 and runs[k - 1][0] == runs[k + 1][0])
        ]
        expected = [count / sum(kept) for count in kept]
        assert weights[b, : int(lengths[b])].tolist() == pytest.approx(expected)


def test_uniform_frames_and_run_length_weights_give_the_path_back_as_a_plan() -> None:
    path = [0, 1, 0, 0, 2, 2, 3]
    labels, lengths, weights = run_length_label_weights(
        torch.tensor([path]), torch.tensor([7]), dtype=torch.float64
    )
    plan = reference_plan([1 / 7] * 7, weights[0, : int(lengths)].tolist())
    assert labels[0][plan.argmax(1)].tolist() == path


def test_utterances_without_frames_or_with_blanks_alone_have_no_labels() -> None:
    alignment = torch.tensor([[BLANK, BLANK], [JUNK, JUNK]])
    _, lengths, weights = run_length_label_weights(
        alignment, torch.tensor([2, 0]), keep_blanks=False
    )
    assert lengths.tolist() == [0, 0]
    assert (weights == 0).all()
    empty = run_length_label_weights(alignment[:, :0], torch.tensor([0, 0]))
    assert [tuple(part.shape) for part in empty] == [(2, 0), (2,), (2, 0)]


def test_an_alignment_longer_than_its_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="utterance 0: lengths must lie in"):
        run_length_label_weights(torch.tensor([[1, 1]]), torch.tensor([3]))


def test_no_value_is_read_outside_the_cpu() -> None:
    # Tensors on the meta device have shapes but no values: reading one raises.
    alignment = torch.zeros((2, 5), dtype=torch.int64, device="meta")
    lengths = torch.zeros(2, dtype=torch.int64, device="meta")
    labels, _, weights = run_length_label_weights(alignment, lengths, keep_blanks=False)
    assert labels.shape == weights.shape == (2, 5)
    module = LearnedLabelWeights(6).to("meta")
    assert module(alignment, lengths).shape == (2, 5)


# Learnt.


def scrambled(floor: float, vocab_size: int = 6) -> LearnedLabelWeights:
    """A module away from its uniform start."""
    torch.manual_seed(1)
    module = LearnedLabelWeights(vocab_size, floor=floor, dim=16, heads=2, feedforward=16)
    torch.nn.init.normal_(module.score.weight, std=3.0)
    return module.eval()


def test_learnt_weights_start_uniform() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([3, 5, 1])
    weights = LearnedLabelWeights(6)(torch.randint(6, (3, 5)), lengths)
    torch.testing.assert_close(weights, uniform_label_weights(lengths, 5))


@pytest.mark.parametrize("floor", [0.0, 0.3, 0.9])
def test_learnt_weights_respect_the_floor_and_the_constraint(floor: float) -> None:
    lengths = torch.tensor([7, 4, 1, 0])
    weights = scrambled(floor)(torch.randint(6, (4, 7)), lengths)
    check_label_weights(weights, lengths)
    valid = torch.arange(7) < lengths[:, None]
    least = floor / lengths.clamp(min=1)[:, None]
    assert (weights >= least * (1 - 1e-6))[valid].all()
    assert (weights[~valid] == 0).all()
    assert not torch.allclose(weights[0], weights.new_full((7,), 1 / 7), atol=1e-3)


def test_saturated_scores_stay_on_the_simplex_without_a_floor() -> None:
    module = scrambled(0.0)
    torch.nn.init.normal_(module.score.weight, std=1e4)
    lengths = torch.tensor([400])
    weights = module(torch.randint(6, (1, 400)), lengths)
    check_label_weights(weights, lengths)
    assert weights.max().item() > 0.99


@pytest.mark.parametrize("gradients", [False, True])
def test_padding_and_batch_do_not_change_the_weights(gradients: bool) -> None:
    # Without gradients PyTorch's transformer layer takes another code path.
    module = scrambled(0.1).requires_grad_(gradients)
    targets = torch.randint(6, (3, 8))
    lengths = torch.tensor([8, 5, 2])
    targets[1, 5:], targets[2, 2:] = -1, 999
    batch = module(targets, lengths)
    for b, U in enumerate(lengths.tolist()):
        alone = module(targets[b : b + 1, :U], lengths[b : b + 1])
        torch.testing.assert_close(batch[b, :U], alone[0], rtol=0, atol=tolerance(torch.float32))


def test_the_order_of_labels_matters() -> None:
    module = scrambled(0.0)
    weights = module(torch.tensor([[1, 2, 3], [3, 2, 1]]), torch.tensor([3, 3]))
    assert not torch.allclose(weights[0], weights[1].flip(0), atol=1e-3)


def test_an_empty_batch_or_utterance_gives_finite_weights_and_gradients() -> None:
    torch.manual_seed(0)
    module = LearnedLabelWeights(6)
    assert module(torch.zeros((2, 0), dtype=torch.int64), torch.tensor([0, 0])).shape == (2, 0)
    with torch.autograd.set_detect_anomaly(True):
        weights = module(torch.tensor([[1, 2], [JUNK, JUNK]]), torch.tensor([2, 0]))
        (weights * torch.tensor([1.0, -1.0])).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_a_label_outside_the_vocabulary_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"utterance 0: targets must be label ids in \[0, V\)"):
        LearnedLabelWeights(5)(torch.tensor([[1, 5]]), torch.tensor([2]))


def test_module_in_double_precision_returns_double() -> None:
    module = scrambled(0.2).double()
    assert module(torch.tensor([[1, 2]]), torch.tensor([2])).dtype == torch.float64


def test_autocast_keeps_the_weights_in_single_precision() -> None:
    module = scrambled(0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weights = module(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    assert weights.dtype == torch.float32
    check_label_weights(weights, torch.tensor([3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"floor": 1.0}, r"floor must lie in \[0, 1\), got 1.0"),
        ({"floor": -0.1}, r"floor must lie in \[0, 1\)"),
        ({"dim": 10, "heads": 4}, "multiple of heads"),
        ({"vocab_size": 0}, "vocab_size must be positive"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearnedLabelWeights(**{"vocab_size": 5, **arguments})


def dense_ottc(log_probs: Tensor, alpha: Tensor, beta: Tensor, targets: Tensor) -> Tensor:
    """L = - sum over t, u of gamma[t, u] log p(y_u | t) of one utterance, by the definition."""
    A, B = alpha.cumsum(0)[:, None], beta.cumsum(0)[None]
    overlap = torch.minimum(A, B) - torch.maximum(A - alpha[:, None], B - beta[None])
    return -(overlap.clamp(min=0) * log_probs[:, targets]).sum()


def learn_together(floor: float) -> tuple[float, Tensor]:
    """Train label weights with a model that sees no acoustics: one distribution for all frames."""
    torch.manual_seed(0)
    T, V = 12, 5
    targets = torch.tensor([1, 2, 3, 4])
    module = LearnedLabelWeights(V, floor=floor, dim=16, heads=2, feedforward=16, dropout=0.0)
    logits = torch.randn(V, requires_grad=True)
    optimiser = torch.optim.Adam([logits, *module.parameters()], lr=0.05)
    alpha = torch.full((T,), 1 / T)
    for _ in range(250):
        beta = module(targets[None], torch.tensor([4]))[0]
        loss = dense_ottc(logits.log_softmax(0).expand(T, V), alpha, beta, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item(), module(targets[None], torch.tensor([4]))[0].detach()


def test_without_a_floor_all_weight_collapses_on_one_label() -> None:
    loss, beta = learn_together(floor=0.0)
    assert float(beta.max()) > 0.99
    assert loss < 0.05


def test_with_a_floor_no_label_can_lose_its_weight() -> None:
    loss, beta = learn_together(floor=0.5)
    assert float(beta.min()) >= 0.5 / 4 - 1e-6
    # The best that one distribution for all frames can do is the entropy of these weights.
    entropy = -(beta * beta.log()).sum().item()
    assert loss >= entropy - 1e-3
    assert loss > 1.0


def _estimated(floor: float = 0.5, damping: float = 0.5) -> EstimatedLabelWeights:
    return EstimatedLabelWeights(4, floor=floor, damping=damping)


def test_estimated_weights_start_uniform() -> None:
    targets = torch.tensor([[1, 2, 3], [2, 1, 9]])
    weights = _estimated()(targets, torch.tensor([3, 2]))
    torch.testing.assert_close(weights, torch.tensor([[1 / 3] * 3, [0.5, 0.5, 0.0]]))


def test_estimated_weights_follow_each_tokens_mean_duration() -> None:
    weighting = _estimated(floor=0.1, damping=0.25)
    targets, lengths = torch.tensor([[1, 2, 1], [2, 3, 0]]), torch.tensor([3, 1])
    # Token 1 lasts 2 and 4 frames, token 2 lasts 8 and 10; what lies in the padding counts for nothing.
    weighting.measure(targets, lengths, torch.tensor([[2.0, 8.0, 4.0], [10.0, 70.0, 80.0]]))
    weighting.update()
    mean = 24 / 4
    expected = torch.tensor([1.0, 0.25 + 0.75 * 3 / mean, 0.25 + 0.75 * 9 / mean, 1.0])
    torch.testing.assert_close(weighting.durations, expected)
    found = weighting(torch.tensor([[1, 2, 3]]), torch.tensor([3]))
    shares = expected[1:] / expected[1:].sum()
    torch.testing.assert_close(found[0], 0.1 / 3 + 0.9 * shares)
    before = weighting.durations.clone()
    weighting.update()  # nothing was measured since
    torch.testing.assert_close(weighting.durations, before)


def test_a_token_that_takes_all_frames_leaves_the_floor_to_the_others() -> None:
    weighting = _estimated(floor=0.4, damping=0.0)
    targets, lengths = torch.tensor([[1, 2]]), torch.tensor([2])
    weighting.measure(targets, lengths, torch.tensor([[0.0, 50.0]]))
    weighting.update()
    torch.testing.assert_close(weighting(targets, lengths), torch.tensor([[0.2, 0.8]]))


def test_estimated_weights_of_no_labels_are_zero() -> None:
    weights = _estimated()(torch.zeros(2, 0, dtype=torch.long), torch.tensor([0, 0]))
    assert weights.shape == (2, 0)
    assert not _estimated()(torch.tensor([[1, 2]]), torch.tensor([0])).any()


@pytest.mark.parametrize("arguments", [{"floor": 0.0}, {"floor": 1.0}, {"damping": 1.0}])
def test_estimated_weights_refuse_values_out_of_range(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must lie in"):
        _estimated(**arguments)
