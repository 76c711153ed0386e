"""The criterion in the place of ESPnet's CTC."""

import itertools

import numpy as np
import pytest
import torch
from espnet2.asr.ctc import CTC

from espnet_ottc.espnet.building import build_criterion
from espnet_ottc.espnet.criteria.base import CriterionBatch
from espnet_ottc.espnet.criteria.options import OTTCOptions
from espnet_ottc.espnet.criteria.ottc import OTTC
from espnet_ottc.espnet.moved import CTCPrefixScorer
from espnet_ottc.ops.flat_start import flat_start_loss

V, D = 7, 12
SPACE = 2  # of <blank> <unk> <space> A B C <sos/eos>


def _batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(3, 15, D, generator=generator)
    lengths = torch.tensor([15, 9, 12])
    targets = torch.tensor([[3, 3, 2, 4], [5, -1, -1, -1], [4, 5, 3, -1]])
    return hidden, lengths, targets, torch.tensor([4, 1, 3])


def _criterion(seed=0, *, dropout_rate=0.0, reduce=True, **options):
    torch.manual_seed(seed)
    criterion = OTTC(V, D, OTTCOptions(**options), dropout_rate=dropout_rate, reduce=reduce)
    if criterion.frame_head is not None:  # it starts from uniform weights: too easy
        torch.nn.init.normal_(criterion.frame_head.output.bias)
    return criterion.eval()


def _dense_loss(log_probs, alpha, labels, beta):
    """-sum over frames and labels of |[A(t-1), A(t)) ∩ [B(u-1), B(u))| log p, written as two loops."""
    A, B = np.concatenate([[0], np.cumsum(alpha)]), np.concatenate([[0], np.cumsum(beta)])
    loss = 0.0
    for t in range(len(alpha)):
        for u in range(len(labels)):
            mass = max(0.0, min(A[t + 1], B[u + 1]) - max(A[t], B[u]))
            loss -= mass * log_probs[t, labels[u]]
    return loss


def _utterance(criterion, hidden, length):
    h = hidden[:length]
    log_probs = criterion.ctc_lo(h).log_softmax(1).detach().double().numpy()
    alpha = criterion.frame_head(h[None])[0].softmax(0).detach().double().numpy()
    return log_probs, alpha


def test_the_loss_is_the_definitions_on_ctcs_scale_with_boundaries_and_blanks():
    criterion = _criterion(boundary_label=SPACE)
    hidden, lengths, targets, target_lengths = _batch()
    wanted = [[2, 3, 0, 3, 2, 4, 2], [2, 5, 2], [2, 4, 5, 3, 2]]
    expected = []
    for b, labels in enumerate(wanted):
        log_probs, alpha = _utterance(criterion, hidden[b], lengths[b])
        beta = np.full(len(labels), 1 / len(labels))
        expected.append(int(lengths[b]) * _dense_loss(log_probs, alpha, labels, beta))
    loss = criterion(hidden, lengths, targets, target_lengths)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)
    criterion.reduce = False
    losses = criterion(hidden, lengths, targets, target_lengths)
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


def test_an_alignment_gives_labels_weights_and_its_edge_blanks_the_boundary_label():
    criterion = _criterion(boundary_label=SPACE, label_weights="ali")
    hidden, lengths, targets, target_lengths = (x[:1] for x in _batch())
    path = torch.tensor([[0, 0, 3, 3, 0, 3, 2, 4, 4, 0, -1, -1]])
    alignment = path, torch.tensor([10])
    batch = CriterionBatch(hidden, lengths, targets, target_lengths, *alignment)
    loss = criterion.losses(batch).loss
    log_probs, alpha = _utterance(criterion, hidden[0], 15)
    beta = np.array([2, 2, 1, 1, 1, 2, 1]) / 10
    expected = 15 * _dense_loss(log_probs, alpha, [2, 3, 0, 3, 2, 4, 2], beta)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_alignment_weights_without_an_alignment_are_an_error():
    with pytest.raises(ValueError, match="label_weights: ali needs the data stream ali"):
        _criterion(label_weights="ali")(*_batch())


def test_it_passes_for_espnets_ctc():
    assert isinstance(_criterion(), CTC)


def test_evaluation_is_deterministic_and_training_is_not():
    criterion = _criterion(dropout_rate=0.5, dropout=0.5)
    assert criterion(*_batch()) == criterion(*_batch())
    criterion.train()
    assert criterion(*_batch()) != criterion(*_batch())


def test_padding_changes_nothing_whatever_stands_in_it():
    criterion = _criterion(boundary_label=SPACE, aux_ctc_weight=0.3, label_weights="learned")
    hidden, lengths, targets, target_lengths = _batch()
    expected = criterion(hidden, lengths, targets, target_lengths)
    padded = torch.cat([hidden, torch.zeros(3, 4, D)], 1)
    for b, length in enumerate(lengths):
        padded[b, length:] = 1e3
    padded.requires_grad_()
    wide = torch.cat([targets, torch.full((3, 2), -1)], 1)
    loss = criterion(padded, lengths, wide, target_lengths)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for b, length in enumerate(lengths):
        assert padded.grad[b, length:].abs().sum() == 0
        assert padded.grad[b, :length].abs().sum() > 0


def test_the_auxiliary_loss_is_espnets_ctc_with_the_heads_parameters():
    criterion = _criterion(aux_ctc_weight=0.25)
    builtin = CTC(V, D).eval()
    builtin.ctc_lo.load_state_dict(criterion.aux_ctc_lo.state_dict())
    losses = criterion.losses(CriterionBatch(*_batch()))
    torch.testing.assert_close(losses.parts["loss_aux_ctc"], builtin(*_batch()))
    torch.testing.assert_close(
        losses.loss, losses.parts["loss_ottc"] + 0.25 * losses.parts["loss_aux_ctc"]
    )


@pytest.mark.parametrize("scale", ["frames", "labels", "utterance"])
def test_penalties_on_the_frame_weights_are_in_the_unit_of_the_loss(scale):
    criterion = _criterion(
        scale=scale, alpha_kl_weight=0.7, alpha_roughness_weight=0.3, reduce=False
    )
    hidden, lengths, targets, target_lengths = _batch()
    losses = criterion.losses(CriterionBatch(hidden, lengths, targets, target_lengths))
    for b, (length, labels) in enumerate(zip(lengths.tolist(), [5, 1, 3], strict=True)):
        _, alpha = _utterance(criterion, hidden[b], length)
        steps = np.diff(np.log(alpha))
        penalty = 0.7 * (alpha * np.log(alpha * length)).sum() + 0.3 * (steps**2).sum() / length
        unit = {"frames": length, "labels": labels, "utterance": 1}[scale]
        added = (losses.loss - losses.parts["loss_ottc"])[b].item()
        assert added == pytest.approx(penalty * unit, rel=1e-4)


@pytest.mark.parametrize("scale", ["frames", "labels", "utterance"])
def test_two_views_that_disagree_cost_in_the_unit_of_the_loss(scale):
    criterion = _criterion(scale=scale, consistency_weight=0.5, reduce=False, dropout=0.0).train()
    one, two = _batch(seed=0), _batch(seed=1)
    batch = [torch.cat(pair) for pair in zip(one, two, strict=True)]
    losses = criterion.losses(CriterionBatch(*batch))
    log_probs = criterion.ctc_lo(batch[0]).log_softmax(2)
    for b, (length, labels) in enumerate(zip([15, 9, 12], [5, 1, 3], strict=True)):
        p, q = log_probs[b, :length], log_probs[3 + b, :length]
        expected = (q.exp() * (q - p)).sum() / length
        unit = {"frames": length, "labels": labels, "utterance": 1}[scale]
        assert losses.parts["loss_consistency"][b].item() == pytest.approx(
            expected.item() * unit, rel=1e-4
        )
    added = 0.5 * losses.parts["loss_consistency"]
    torch.testing.assert_close(losses.loss, losses.parts["loss_ottc"] + added)
    assert "loss_consistency" not in criterion.eval().losses(CriterionBatch(*_batch())).parts


@pytest.mark.parametrize("scale", ["frames", "labels", "utterance"])
def test_a_flat_start_hands_over_to_ottc_in_the_unit_of_the_loss(scale):
    criterion = _criterion(
        scale=scale, boundary_label=SPACE, flat_start_epochs=3, reduce=False, dropout=0.0
    )
    hidden, lengths, *texts = _batch()
    targets = torch.tensor([[2, 3, 0, 3, 2, 4, 2], [2, 5, 2, 0, 0, 0, 0], [2, 4, 5, 3, 2, 0, 0]])
    counts = torch.tensor([7, 3, 5])
    searched = flat_start_loss(
        criterion.ctc_lo(hidden), criterion.frame_head(hidden), targets, lengths, counts
    )
    unit = {"frames": lengths, "labels": counts, "utterance": 1}[scale]
    for epoch, share in ((None, 1.0), (3, 1.0), (4, 0.5), (5, 0.0), (1, 1.0)):
        if epoch is not None:
            criterion.set_epoch(epoch)
        losses = criterion.train().losses(CriterionBatch(hidden, lengths, *texts))
        ottc = losses.parts["loss_ottc"]
        torch.testing.assert_close(losses.loss, share * searched * unit + (1 - share) * ottc)
        assert ("loss_flat_start" in losses.parts) is (share > 0)
        # The best model is chosen by one and the same loss in all epochs.
        losses = criterion.eval().losses(CriterionBatch(hidden, lengths, *texts))
        torch.testing.assert_close(losses.loss, ottc)
        assert list(losses.parts) == ["loss_ottc"]


@pytest.mark.parametrize(
    ("options", "sought"),
    [
        ({}, [[0, 3, 0, 3, 2, 4, 0], [0, 5, 0], [0, 4, 5, 3, 0]]),
        ({"unaligned_label": SPACE}, [[0, 3, 0, 3, 0, 4, 0], [0, 5, 0], [0, 4, 5, 3, 0]]),
        ({"boundary_label": SPACE}, [[2, 3, 0, 3, 2, 4, 2], [2, 5, 2], [2, 4, 5, 3, 2]]),
    ],
    ids=["at both ends", "between words", "where no boundary label is"],
)
def test_in_a_flat_start_pauses_are_the_null_labels(options, sought):
    criterion = _criterion(
        null_capacity=0.6,
        flat_start_epochs=3,
        reduce=False,
        dropout=0.0,
        scale="utterance",
        **options,
    )
    hidden, lengths, *texts = _batch()
    losses = criterion.train().losses(CriterionBatch(hidden, lengths, *texts))
    for b, labels in enumerate(sought):
        one = hidden[b : b + 1, : lengths[b]]
        expected = flat_start_loss(
            criterion.ctc_lo(one),
            criterion.frame_head(one),
            torch.tensor([labels]),
            lengths[b : b + 1],
            torch.tensor([len(labels)]),
        )
        torch.testing.assert_close(losses.loss[b : b + 1], expected)
    # OTTC's own labels have none.
    assert (criterion.labels(CriterionBatch(hidden, lengths, *texts)).targets[2, 0]) != 0


def test_the_null_weight_rises_in_training_and_is_whole_in_validation():
    options = {"reduce": False, "dropout": 0.0, "scale": "labels", "boundary_label": SPACE}
    plain = _criterion(**options)
    criterion = _criterion(**options, null_capacity=0.9, null_weight=3.0, null_after_epoch=6)
    batch = CriterionBatch(*_batch())
    ottc, whole = plain.losses(batch).loss, criterion.losses(batch)
    assert bool((whole.loss > ottc + 0.1).all())
    for epoch, share in ((6, 0.0), (7, 1 / 3), (8, 2 / 3), (9, 1.0), (20, 1.0)):
        criterion.set_epoch(epoch)
        losses = criterion.train().losses(batch)
        torch.testing.assert_close(losses.loss, ottc + share * (whole.loss - ottc))
        torch.testing.assert_close(criterion.eval().losses(batch).loss, whole.loss)
    for b, (length, alpha) in enumerate(
        zip([15, 9, 12], criterion.alpha(*_batch()[:2]).detach().tolist(), strict=True)
    ):
        unused = sum(max(0.9 / length - a, 0) for a in alpha[:length])
        assert whole.parts["null_mass"][b].item() == pytest.approx(unused, abs=1e-5)
    assert "null_mass" not in plain.losses(batch).parts


def test_an_unaligned_label_has_no_part_in_label_sequences():
    criterion = _criterion(null_capacity=0.9, unaligned_label=SPACE)
    targets = torch.tensor([[3, 3, 2, 3], [2, 2, -1, -1], [4, 2, 5, 2]])
    labels = criterion.labels_of_text(targets, torch.tensor([4, 2, 3]))
    rows = zip(labels.targets.tolist(), labels.lengths.tolist(), strict=True)
    assert [row[:n] for row, n in rows] == [[3, 0, 3, 0, 3], [], [4, 5]]


def test_forced_align_with_a_null_label_leaves_frames_between_labels_blank():
    torch.manual_seed(1)
    criterion = build_criterion(4, 8, ctc_type="ottc", null_capacity=0.9).eval()
    hidden = 3 * torch.randn(1, 7, 8)
    path, scores = criterion.forced_align(
        hidden, torch.tensor([7]), torch.tensor([[2, 3]]), torch.tensor([2])
    )
    log_probs = criterion.frame_log_probs(hidden)[0].detach()
    found = {}
    for edges in itertools.combinations_with_replacement(range(8), 4):
        if edges[0] < edges[1] and edges[2] < edges[3]:
            tokens = [0] * 7
            tokens[edges[0] : edges[1]] = [2] * (edges[1] - edges[0])
            tokens[edges[2] : edges[3]] = [3] * (edges[3] - edges[2])
            found[tuple(tokens)] = sum(float(log_probs[t, y]) for t, y in enumerate(tokens))
    best = max(found, key=found.get)
    assert path[0].tolist() == list(best)
    assert 0 in best
    assert float(scores.sum()) == pytest.approx(found[best], abs=1e-5)


def test_a_flat_start_teaches_labels_and_frame_weights_and_leaves_frozen_ones():
    for frozen in (False, True):
        criterion = _criterion(
            boundary_label=SPACE,
            flat_start_epochs=3,
            freeze_alpha_after_epoch=0 if frozen else None,
        ).train()
        hidden, *rest = _batch()
        criterion(hidden.requires_grad_(), *rest).backward()
        moved = sum(p.grad.abs().sum().item() for p in criterion.frame_head.parameters())
        assert (moved == 0) is frozen
        assert criterion.ctc_lo.weight.grad.abs().sum() > 0
        assert hidden.grad.abs().sum() > 0


def test_a_ctc_models_parameters_load_into_it():
    criterion, builtin = _criterion(), CTC(V, D)
    missing, unexpected = criterion.load_state_dict(builtin.state_dict(), strict=False)
    assert unexpected == []
    assert all(name.startswith("frame_head.") for name in missing)
    hidden = _batch()[0]
    torch.testing.assert_close(criterion.log_softmax(hidden), builtin.log_softmax(hidden))


def test_a_frozen_head_hands_the_encoder_its_gradient_and_takes_none():
    gradients = []
    for epochs in (None, 0):
        criterion = _criterion(boundary_label=SPACE, freeze_alpha_after_epoch=epochs)
        hidden, *rest = _batch()
        hidden.requires_grad_()
        criterion(hidden, *rest).backward()
        gradients.append(hidden.grad)
        moved = sum(p.grad.abs().sum().item() for p in criterion.frame_head.parameters())
        assert (moved == 0) is (epochs == 0)
    torch.testing.assert_close(*gradients)


def test_the_frame_weight_head_starts_uniform_and_is_frozen_after_its_epoch():
    torch.manual_seed(0)
    criterion = OTTC(V, D, OTTCOptions(freeze_alpha_after_epoch=2, dropout=0.5)).train()
    hidden, lengths, _, _ = _batch()
    torch.testing.assert_close(criterion.alpha(hidden, lengths)[1, :9], torch.full((9,), 1 / 9))
    for epoch, frozen in ((1, False), (2, False), (3, True), (1, False)):
        criterion.set_epoch(epoch)
        criterion.train()
        criterion.zero_grad()
        criterion(*_batch()).backward()
        moved = sum(p.grad.abs().sum().item() for p in criterion.frame_head.parameters())
        assert (moved == 0) is frozen
        assert criterion.ctc_lo.weight.grad.abs().sum() > 0
        assert criterion.frame_head.training is not frozen


def test_uniform_alpha_has_no_head():
    criterion = _criterion(alpha="uniform")
    assert not [name for name in criterion.state_dict() if name.startswith("frame_head")]
    hidden, lengths, _, _ = _batch()
    alpha = criterion.alpha(hidden, lengths)
    torch.testing.assert_close(alpha.sum(1), torch.ones(3))
    assert (alpha[1, :9] == alpha[1, 0]).all()


def test_the_criterion_takes_the_id_of_a_boundary_label_inside_the_vocabulary():
    with pytest.raises(ValueError, match="must be below 7"):
        OTTC(V, D, OTTCOptions(boundary_label=7))
    with pytest.raises(TypeError, match="must be an id here, got '<space>'"):
        OTTC(V, D, OTTCOptions(boundary_label="<space>"))


class _Telling(OTTC):
    """Posteriors that say `<space> A A <space> B <blank> <space>`."""

    def __init__(self, **options):
        super().__init__(V, V, OTTCOptions(alpha="uniform", **options))
        torch.nn.init.eye_(self.ctc_lo.weight)
        torch.nn.init.zeros_(self.ctc_lo.bias)

    @staticmethod
    def hidden():
        return 6.0 * torch.nn.functional.one_hot(torch.tensor([[2, 3, 3, 2, 4, 0, 2]]), V)


def test_the_prefix_scorer_prefers_the_text_without_boundary_labels():
    criterion = _Telling(boundary_label=SPACE)
    scorer = CTCPrefixScorer(criterion, eos=V - 1)
    texts = {"stripped": [3, 2, 4], "as trained": [2, 3, 2, 4, 2]}
    scores = {}
    for name, text in texts.items():
        state = scorer.init_state(criterion.hidden()[0])
        total, prefix = 0.0, [V - 1]
        for label in [*text, V - 1]:
            score, new = scorer.score_partial(
                torch.tensor(prefix), torch.tensor([label]), state, criterion.hidden()[0]
            )
            total += float(score[0])
            state = scorer.select_state(new, 0)
            prefix.append(label)
        scores[name] = total
    assert scores["stripped"] > -0.5
    assert scores["as trained"] < -1e6


def test_greedy_hypotheses_come_without_boundary_labels():
    criterion = _Telling(boundary_label=SPACE)
    labels, lengths = criterion.greedy(criterion.hidden(), torch.tensor([7]))
    assert labels[0, : lengths[0]].tolist() == [3, 2, 4]


def test_half_precision_under_autocast_gives_a_float32_loss_near_the_exact_one():
    criterion = _criterion(boundary_label=SPACE, aux_ctc_weight=0.5)
    exact = criterion(*_batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = criterion(*_batch())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_dropout_option_is_that_of_learnt_label_weights(dropout):
    criterion = _criterion(label_weights="learned", dropout=dropout).train()
    torch.nn.init.normal_(criterion.label_weighting.score.weight)
    labels = torch.tensor([[3, 4, 5, 3]])
    first, second = (criterion.label_weights(labels, torch.tensor([4])) for _ in "12")
    assert torch.equal(first, second) is (dropout == 0)


def test_learned_label_weights_are_trained_with_the_rest():
    criterion = _criterion(label_weights="learned", label_weight_floor=0.2).train()
    criterion(*_batch()).backward()
    for name, parameter in criterion.label_weighting.named_parameters():
        assert parameter.grad is not None, name
    assert criterion.label_weighting.score.weight.grad.abs().sum() > 0


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_mixed_precision_on_a_gpu_gives_gradients_near_the_exact_ones(dtype):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    criterion = _criterion(boundary_label=SPACE, aux_ctc_weight=0.3).cuda()
    batch = [tensor.cuda() for tensor in _batch()]
    criterion(*batch).backward()
    exact = {name: p.grad.clone() for name, p in criterion.named_parameters()}
    criterion.zero_grad()
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
    with torch.autocast("cuda", dtype=dtype):
        loss = criterion(*batch)
    scaler.scale(loss).backward()
    for name, parameter in criterion.named_parameters():
        size = exact[name].abs().max().item()
        torch.testing.assert_close(parameter.grad / 1024, exact[name], rtol=0.1, atol=0.05 * size)


@pytest.mark.parametrize("ctc_type", ["ottc", "ctc_prior"])
def test_espnets_forced_align_gives_the_tokens_of_the_text_in_order(ctc_type):
    torch.manual_seed(0)
    label = {"boundary_label": 1} if ctc_type == "ottc" else {}
    criterion = build_criterion(6, 8, ctc_type=ctc_type, **label).eval()
    hidden, text = torch.randn(1, 20, 8), torch.tensor([[2, 3, 3, 5]])
    lengths, text_lengths = torch.tensor([20]), torch.tensor([4])
    path, scores = criterion.forced_align(hidden, lengths, text, text_lengths)
    assert path.shape == scores.shape == (1, 20)
    spoken = [token for token, _ in itertools.groupby(path[0].tolist())]
    assert [token for token in spoken if token] == [2, 3, 3, 5]
    assert (scores <= 0).all()


def test_forced_align_is_the_best_of_all_paths():
    torch.manual_seed(1)
    criterion = build_criterion(4, 8, ctc_type="ottc", boundary_label=1).eval()
    hidden = torch.randn(1, 7, 8)
    path, scores = criterion.forced_align(
        hidden, torch.tensor([7]), torch.tensor([[2, 3]]), torch.tensor([2])
    )
    log_probs = criterion.frame_log_probs(hidden)[0].detach()
    # Boundary, 2, 3, boundary: three places in seven frames where the next label starts.
    found = {}
    for starts in itertools.combinations(range(1, 7), 3):
        labels = [(1, 2, 3, 1)[sum(t >= start for start in starts)] for t in range(7)]
        found[tuple(labels)] = sum(float(log_probs[t, y]) for t, y in enumerate(labels))
    best = max(found, key=found.get)
    assert path[0].tolist() == [0 if label == 1 else label for label in best]
    assert float(scores.sum()) == pytest.approx(found[best], abs=1e-5)


def test_forced_align_names_an_utterance_with_too_few_frames():
    criterion = build_criterion(4, 8, ctc_type="ottc", boundary_label=1)
    with pytest.raises(
        ValueError, match="utterance 0: 4 labels need at least as many frames, got 3"
    ):
        criterion.forced_align(
            torch.randn(1, 5, 8), torch.tensor([3]), torch.tensor([[2, 3]]), torch.tensor([2])
        )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"boundary_label": SPACE, "scale": "utterance", "alpha_kl_weight": 0.1},
        {"flat_start_epochs": 1},
        {"flat_start_epochs": 4},  # in its fifth epoch, half flat start and half OTTC
        {"consistency_weight": 0.2},
        {"null_capacity": 0.9, "null_weight": 2.0},
    ],
)
def test_an_impossible_utterance_counts_nothing_and_the_others_train_as_ever(options):
    batch = tuple(x.repeat(2, *[1] * (x.dim() - 1)) for x in _batch())  # two views of each
    criterion = _criterion(**options).train()
    criterion.set_epoch(5 if options.get("flat_start_epochs") == 4 else 1)
    criterion.frame_head.eval()  # no dropout
    with torch.no_grad():
        criterion.ctc_lo.bias[5] = -torch.inf  # a label of utterances 1 and 2
    loss = criterion(*batch)
    loss.backward()
    gradients = [p.grad.clone() for p in criterion.parameters()]
    assert loss.isfinite()
    assert all(g.isfinite().all() for g in gradients)

    # The same from the possible utterance alone, twice among six.
    criterion.zero_grad()
    penalised = criterion.options.penalised or criterion.consistency_weight > 0
    if not penalised:  # those of the others are finite, and count
        alone = [x[:1].repeat(2, *[1] * (x.dim() - 1)) for x in batch]
        (criterion(*alone) / 3).backward()
        for found, p in zip(gradients, criterion.parameters(), strict=True):
            torch.testing.assert_close(found, p.grad, rtol=1e-4, atol=1e-6)


def test_without_zero_infinity_an_impossible_utterance_makes_the_loss_infinite():
    criterion = build_criterion(V, D, ctc_type="ottc", zero_infinity=False)
    with torch.no_grad():
        criterion.ctc_lo.bias[5] = -torch.inf
    assert criterion(*_batch()) == torch.inf
    former = build_criterion(V, D, ctc_type="ottc", zero_infinity=True, ignore_nan_grad=False)
    assert former.zero_infinity is False
