"""The residual dilated convolution encoder."""

import pytest
import torch

from espnet_ottc.espnet.encoders import DilatedConvEncoder


def _encoder(**options):
    torch.manual_seed(0)
    settings = {"channels": 16, "layers": 3, "kernel_size": 3, "dilation_cycle": 2, **options}
    return DilatedConvEncoder(5, **settings).eval()


@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
def test_lengths_are_rounded_up_and_nothing_depends_on_padding(subsampling):
    encoder = _encoder(subsampling=subsampling)
    lengths = torch.tensor([23, 1, 8, 12])
    features = torch.full((4, 23, 5), float("nan"))
    singles = []
    for b, length in enumerate(lengths.tolist()):
        features[b, :length] = torch.randn(length, 5)
        output, count, _ = encoder(features[b : b + 1, :length], torch.tensor([length]))
        assert count.item() == output.shape[1] == -(-length // subsampling)
        singles.append(output[0])
    outputs, counts, _ = encoder(features, lengths)
    assert outputs.shape == (4, counts.max(), 16)
    for output, count, single in zip(outputs, counts, singles, strict=True):
        torch.testing.assert_close(output[:count], single)
        assert (output[count:] == 0).all()


@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
def test_an_output_frame_sees_equally_far_to_both_sides_of_its_input_frames(subsampling):
    encoder = _encoder(subsampling=subsampling)
    features = torch.randn(1, 40 * subsampling, 5, requires_grad=True)
    output, _, _ = encoder(features, torch.tensor([40 * subsampling]))
    output[0, 20, 0].backward()
    seen = features.grad[0].abs().sum(1).nonzero().flatten()
    centre = 20 * subsampling + (subsampling - 1) / 2
    assert (seen[0] + seen[-1]).item() / 2 == centre


def test_the_width_of_the_output_is_the_number_of_channels():
    assert _encoder(channels=24).output_size() == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"subsampling": 0}, "subsampling must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_sizes_outside_their_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        _encoder(**options)
