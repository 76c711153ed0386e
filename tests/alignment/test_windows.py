"""Windows give what the whole recording gives, away from where a model hears further than their context."""

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from espnet_ottc.alignment.windows import FrameOutputs, Windows, frame_outputs, together

RATE, STRIDE = 1000, 10


class _Convolutions:
    """Two convolutions that hear 0.5 s to either side; padded, as ESPnet's frontends are."""

    sampling_rate, stride, least_samples = RATE, STRIDE, STRIDE
    device = torch.device("cpu")

    def __init__(self, pads: bool = False) -> None:
        self.pads = pads
        self.batches: list[list[int]] = []
        torch.manual_seed(1)
        self.first = nn.Conv1d(1, 8, 2 * STRIDE, stride=STRIDE, padding=STRIDE // 2)
        self.second = nn.Conv1d(8, 6, 101, padding=50)
        self.longest = 0

    def prepare(self, samples: Tensor) -> Tensor:
        return samples - samples.mean()

    @torch.no_grad()
    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        found = []
        self.batches.append([len(window) for window in stretches])
        for window in stretches:
            self.longest = max(self.longest, len(window))
            hidden = self.second(torch.tanh(self.first(window[None, None])))[0].T
            found.append(FrameOutputs(hidden[:, :5].log_softmax(1), hidden[:, 5]))
        return found


@pytest.mark.parametrize("count", [3999, 4000, 4001, 9000, 20011, 33333])
def test_windows_equal_the_whole(count: int) -> None:
    model = _Convolutions()
    samples = torch.randn(count, generator=torch.Generator().manual_seed(count)) + 0.2
    whole = model.outputs([model.prepare(samples)])[0]
    model.longest = 0
    (found,) = frame_outputs(model, [samples], Windows(4.0, 0.8))
    assert model.longest <= max(4000, count if count <= 4000 else 0) + STRIDE * 16
    assert found.log_probs.shape == whole.log_probs.shape
    torch.testing.assert_close(found.log_probs, whole.log_probs, atol=1e-5, rtol=0)
    assert found.frame_scores is not None
    torch.testing.assert_close(found.frame_scores, whole.frame_scores, atol=1e-5, rtol=0)


def test_the_first_pass_is_made_alone_and_the_others_at_once() -> None:
    class Waiting(_Convolutions):
        both = threading.Barrier(2, timeout=60)

        def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
            if self.batches:  # nobody passes before another is there
                self.both.wait()
            return super().outputs(stretches)

    model, samples = Waiting(), torch.randn(8800)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (found,) = frame_outputs(model, [samples], Windows(4.0, 0.8))
    finally:
        torch.set_num_threads(threads)
    assert model.batches == [[4000]] * 3
    (whole,) = super(Waiting, model).outputs([model.prepare(samples)])
    torch.testing.assert_close(found.log_probs, whole.log_probs, atol=1e-5, rtol=0)


def test_a_recording_without_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="too short: 5 ms, and the model needs 10 ms"):
        frame_outputs(_Convolutions(), [torch.zeros(5)])


def test_windows_without_an_inside_are_refused() -> None:
    with pytest.raises(ValueError, match="4 times as long"):
        Windows(10.0, 4.0)


@pytest.mark.parametrize("pads", [False, True])
def test_recordings_share_passes_by_their_lengths_and_come_back_in_order(pads: bool) -> None:
    model = _Convolutions(pads)
    recordings = [torch.randn(count) for count in (500, 9000, 480, 500, 300, 500)]
    expected = [frame_outputs(model, [samples], Windows(4.0, 0.8))[0] for samples in recordings]
    model.batches.clear()
    found = frame_outputs(model, recordings, Windows(4.0, 0.8))
    for one, alone in zip(found, expected, strict=True):
        torch.testing.assert_close(one.log_probs, alone.log_probs, atol=1e-6, rtol=0)
    # Several are made at once, in any order.
    short = sorted((sizes for sizes in model.batches if max(sizes) < 1000), reverse=True)
    assert short == ([[500, 500, 500, 480, 300]] if pads else [[500, 500, 500], [480], [300]])
    # No pass is larger than a window.
    assert all(max(sizes) * len(sizes) <= 4000 + 160 for sizes in model.batches)


def test_what_is_larger_than_a_batch_comes_alone() -> None:
    sizes = [9.0, 3.0, 1.0, 1.0, 5.0]
    assert list(together(range(5), sizes, 4.0)) == [[0], [1], [2, 3], [4]]
    assert list(together([], sizes, 4.0)) == []


def test_frame_weights_are_those_of_a_whole_utterance() -> None:
    scores = torch.randn(7)
    alpha = FrameOutputs(torch.zeros(7, 3), scores).alpha
    assert alpha is not None
    torch.testing.assert_close(alpha, scores.softmax(0))
    assert FrameOutputs(torch.zeros(7, 3)).alpha is None
