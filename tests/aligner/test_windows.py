"""Windows give what the whole recording gives, away from where a model hears further than their context."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from espnet_ottc.aligner.models.interface import FrameOutputs
from espnet_ottc.aligner.windows import Windows, frame_outputs

RATE, STRIDE = 1000, 10


class _Convolutions:
    """Two convolutions that hear 0.5 s to either side; padded, as ESPnet's frontends are."""

    sampling_rate, stride, least_samples = RATE, STRIDE, STRIDE

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.first = nn.Conv1d(1, 8, 2 * STRIDE, stride=STRIDE, padding=STRIDE // 2)
        self.second = nn.Conv1d(8, 6, 101, padding=50)
        self.longest = 0

    def prepare(self, samples: Tensor) -> Tensor:
        return samples - samples.mean()

    @torch.no_grad()
    def outputs(self, windows: Sequence[Tensor]) -> list[FrameOutputs]:
        found = []
        for window in windows:
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
    found = frame_outputs(model, samples, Windows(4.0, 0.8))  # type: ignore[arg-type]
    assert model.longest <= max(4000, count if count <= 4000 else 0) + STRIDE * 16
    assert found.log_probs.shape == whole.log_probs.shape
    torch.testing.assert_close(found.log_probs, whole.log_probs, atol=1e-5, rtol=0)
    assert found.frame_scores is not None
    torch.testing.assert_close(found.frame_scores, whole.frame_scores, atol=1e-5, rtol=0)


def test_a_recording_without_a_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="too short: 5 ms, and the model needs 10 ms"):
        frame_outputs(_Convolutions(), torch.zeros(5), Windows())  # type: ignore[arg-type]


def test_windows_without_an_inside_are_refused() -> None:
    with pytest.raises(ValueError, match="4 times as long"):
        Windows(10.0, 4.0)
