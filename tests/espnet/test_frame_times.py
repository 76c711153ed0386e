"""Where encoder frames lie in time."""

from types import SimpleNamespace

import pytest
import torch
from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
from espnet2.asr.frontend.default import DefaultFrontend

from espnet_ottc.espnet.encoders.dilated_conv import DilatedConvEncoder
from espnet_ottc.espnet.encoders.frame_grid import frame_grid

HOP, RATE = 160, 16000


def _conformer(input_layer):
    return ConformerEncoder(
        80, output_size=16, attention_heads=2, linear_units=8, num_blocks=1, input_layer=input_layer
    )


def _model(encoder, hop=HOP):
    frontend = DefaultFrontend(hop_length=hop)

    def encode(speech, lengths):
        output, counts, _ = encoder(*frontend(speech, lengths))
        return output, counts

    return SimpleNamespace(
        frontend=frontend, encoder=encoder, encode=encode, parameters=encoder.parameters
    )


def _seen_by(first_layers, frame, frames=120):
    """First and last feature frame that an output frame of the strided layers depends on."""
    features = torch.randn(1, frames, 80, requires_grad=True)
    first_layers(features)[0, frame].abs().sum().backward()
    seen = features.grad[0].abs().sum(1).nonzero().flatten()
    return seen[0].item(), seen[-1].item()


@pytest.mark.parametrize(
    ("input_layer", "factor"), [("conv2d", 4), ("conv2d2", 2), ("conv2d6", 6), ("conv2d8", 8)]
)
def test_a_conformers_frames_are_centred_on_what_they_see(input_layer, factor):
    encoder = _conformer(input_layer).eval()
    grid = frame_grid(_model(encoder), RATE)
    assert grid.shift == pytest.approx(factor * HOP / RATE)
    first, last = _seen_by(lambda x: encoder.embed.conv(x[:, None]).transpose(1, 2).flatten(2), 5)
    # A feature frame is centred on its first sample (ESPnet's STFT pads).
    centre = (first + last) / 2 * HOP / RATE
    assert grid.seconds(5.5) == pytest.approx(centre)


@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
@pytest.mark.parametrize("hop", [128, 160])
def test_the_convolutional_encoders_frames_tile_the_audio(subsampling, hop):
    encoder = DilatedConvEncoder(
        80, channels=8, dilations=[], output_dilations=[1], subsampling=subsampling
    ).eval()
    grid = frame_grid(_model(encoder, hop), RATE)
    assert grid.shift == pytest.approx(subsampling * hop / RATE)
    assert grid.offset == pytest.approx(-hop / 2 / RATE)


def test_other_frontends_frames_start_with_the_audio():
    def encode(speech, lengths):
        return None, lengths // 320

    model = SimpleNamespace(
        frontend=None,
        encoder=torch.nn.Identity(),
        encode=encode,
        parameters=torch.nn.Linear(1, 1).parameters,
    )
    grid = frame_grid(model, RATE)
    assert (grid.shift, grid.offset) == (pytest.approx(0.02), 0)
