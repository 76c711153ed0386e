"""The residual dilated convolution encoder."""

import pytest
import torch

from espnet_ottc.espnet.encoders.dilated_conv import DilatedConvEncoder


def _encoder(**options):
    torch.manual_seed(0)
    settings = {"channels": 16, "dilations": [1, 2], "output_dilations": [1], **options}
    return DilatedConvEncoder(5, **settings).eval()


@pytest.mark.parametrize("pooling", [1, 2, 3])
@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
def test_lengths_are_rounded_up_and_nothing_depends_on_padding(subsampling, pooling):
    encoder = _encoder(subsampling=subsampling, pooling=pooling)
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
    encoder = _encoder(subsampling=subsampling, pooling=1)
    features = torch.randn(1, 40 * subsampling, 5, requires_grad=True)
    output, _, _ = encoder(features, torch.tensor([40 * subsampling]))
    output[0, 20, 0].backward()
    seen = features.grad[0].abs().sum(1).nonzero().flatten()
    centre = 20 * subsampling + (subsampling - 1) / 2
    assert (seen[0] + seen[-1]).item() / 2 == centre


def test_a_pooled_frame_sees_equally_far_to_both_sides_of_its_cell():
    encoder = _encoder(subsampling=1, pooling=2)
    for frame in (20, 21):
        features = torch.randn(1, 40, 5, requires_grad=True)
        output, _, _ = encoder(features, torch.tensor([40]))
        output[0, frame, 0].backward()
        seen = features.grad[0].abs().sum(1).nonzero().flatten()
        # One frame to either side by the last block; the cell behind that is the next one.
        assert (seen[0].item(), seen[-1].item()) == ((11, 28) if frame == 20 else (13, 30))


def test_the_width_of_the_output_is_the_number_of_channels():
    assert _encoder(channels=24).output_size() == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"dilations": [], "output_dilations": []}, "must name a block"),
        ({"dilations": [1, 0]}, "dilations must be at least 1, got 0"),
        ({"subsampling": 0}, "subsampling must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
    ],
)
def test_sizes_outside_their_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        _encoder(**options)
