"""What a training run shows of its transport."""

import json

import numpy as np
import pytest
import torch

from espnet_ottc import transport_plan
from espnet_ottc.espnet.criteria.options import OTTCOptions
from espnet_ottc.espnet.criteria.ottc import OTTC, Labels, ObservedBatch
from espnet_ottc.espnet.diagnostics import (
    TransportDiagnostics,
    boundary_movement,
    read_alignments,
    silence_tokens,
    write_alignments,
)

SPACE = 2


def _criterion(**options):
    return OTTC(4, 3, OTTCOptions(boundary_label=SPACE, **options))


def _diagnostics(**options):
    return TransportDiagnostics(_criterion(**options), silence=(0, SPACE))


def _batch(alpha, lengths, frame_labels, targets):
    logits = 5.0 * torch.nn.functional.one_hot(torch.tensor(frame_labels), 4)
    labels = Labels(torch.tensor(targets), torch.tensor([len(row) for row in targets]), None)
    return ObservedBatch(logits, torch.tensor(alpha), torch.tensor(lengths), labels)


def test_measures_are_averages_over_utterances_and_over_frames():
    diagnostics = _diagnostics(drop_threshold=0.1)
    alpha = [[0.25, 0.25, 0.25, 0.25, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]]
    _show(diagnostics, _batch(alpha[:1], [4], [[2, 1, 0, 3, 0]], [[2, 1, 2]]))
    _show(diagnostics, _batch(alpha[1:], [3], [[1, 1, 2, 0, 0]], [[2, 1, 2]]))
    averages = diagnostics.averages()
    assert averages["alpha_entropy"] == pytest.approx((np.log(4) + np.log(2)) / 2)
    assert averages["alpha_effective_frames"] == pytest.approx(3)
    assert averages["alpha_effective_share"] == pytest.approx((1 + 2 / 3) / 2)
    assert averages["dropped_frames"] == pytest.approx(1 / 7)
    assert averages["peaky_frames"] == pytest.approx(3 / 7)


def _show(diagnostics, batch):
    for _, passed in diagnostics.watch([(["one"], batch)]):
        diagnostics.see(passed)


def test_intermediate_layers_do_not_count():
    diagnostics = _diagnostics()
    last = _batch([[0.5, 0.5]], [2], [[2, 1]], [[2, 1]])
    intermediate = _batch([[1.0, 0.0]], [2], [[0, 0]], [[2, 1]])
    for _, batch in diagnostics.watch([(["one"], last)]):
        diagnostics.see(batch)
        diagnostics.see(intermediate)
    assert diagnostics.averages()["alpha_effective_frames"] == pytest.approx(2)


def test_without_batches_there_is_nothing_to_report():
    assert _diagnostics().averages() == {}


def test_followed_label_starts_are_where_the_plan_changes_label():
    rng = np.random.default_rng(0)
    for frames, labels in ((9, 4), (5, 8), (1, 3), (30, 1)):
        alpha, beta = rng.dirichlet(np.ones(frames)), np.full(labels, 1 / labels)
        diagnostics = _diagnostics()
        _show(diagnostics, _batch([alpha.tolist()], [frames], [[1] * frames], [[1] * labels]))
        starts = diagnostics.alignments["one"]["starts"]
        plan = transport_plan(torch.tensor(alpha)[None], torch.tensor(beta)[None]).dense()[0]
        for u in range(labels):
            t = int(plan[:, u].nonzero()[0, 0])
            before = float(plan[t, :u].sum())  # what earlier labels took of the frame
            assert starts[u] == pytest.approx(t + before / alpha[t], abs=2e-3)


def test_movement_compares_the_same_utterances_and_labels_only():
    def utterance(labels, starts):
        return {"labels": labels, "starts": starts}

    before = {"a": utterance([1, 2], [0, 3.0]), "b": utterance([1], [0]), "c": utterance([3], [0])}
    after = {
        "a": utterance([1, 2], [0, 4.5]),
        "b": utterance([1, 2], [0, 9]),
        "d": utterance([1, 2], [0, 9]),
    }
    assert boundary_movement(before, after) == pytest.approx(1.5)
    assert boundary_movement({}, after) is None


def test_the_first_batchs_utterances_are_followed_and_survive_the_disk(tmp_path):
    diagnostics = _diagnostics()
    batches = [
        (["one"], _batch([[0.5, 0.5]], [2], [[2, 1]], [[2, 1]])),
        (["two"], _batch([[1.0]], [1], [[2]], [[2]])),
    ]
    for _, batch in diagnostics.watch(iter(batches)):
        diagnostics.see(batch)
    path = tmp_path / "new" / "1epoch.json"
    write_alignments(path, diagnostics.alignments)
    assert read_alignments(path) == {
        "one": {"frames": 2, "labels": [2, 1], "starts": [0.0, 1.0], "alpha": [0.5, 0.5]}
    }
    assert json.loads(path.read_text())["one"]["frames"] == 2
    assert read_alignments(tmp_path / "absent.json") == {}


def test_the_heaviest_tokens_share_of_the_label_weight_is_reported():
    diagnostics = _diagnostics(label_weights="learned")
    batch = _batch([[0.5, 0.5], [0.5, 0.5]], [2, 2], [[2, 1], [1, 3]], [[2, 1, 3, 2], [1, 3, 1, 3]])
    weights = torch.tensor([[0.3, 0.2, 0.1, 0.4], [1.0, 0.0, 0.0, 0.0]])
    _show(diagnostics, batch._replace(labels=batch.labels._replace(weights=weights)))
    # The second utterance has two different tokens only.
    assert diagnostics.averages()["label_weight_on_one_token"] == pytest.approx(0.7)


def test_uniform_label_weights_report_no_heaviest_token():
    diagnostics = _diagnostics()
    _show(diagnostics, _batch([[0.5, 0.5]], [2], [[2, 1]], [[2, 1, 3, 2]]))
    assert "label_weight_on_one_token" not in diagnostics.averages()


def test_silence_is_the_blank_with_the_boundary_label_or_else_the_space():
    tokens = ["<blank>", "a", "<space>", "b"]
    assert silence_tokens(OTTC(4, 3, OTTCOptions(boundary_label=3)), tokens) == (0, 3)
    assert silence_tokens(OTTC(4, 3), tokens) == (0, 2)
    assert silence_tokens(OTTC(4, 3), ["<blank>", "a", "b", "c"]) == (0,)
