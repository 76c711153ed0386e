"""Where an encoder's frames lie in time."""

from typing import Any

import torch
from espnet2.utils.types import humanfriendly_parse_size_or_none
from torch import nn

from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.espnet.encoders.interface import PackageEncoder

# Multiples of the usual hops and subsampling factors: counting frames over this many samples is
# exact.
_PROBE_SAMPLES = 420 * 160


def frame_grid(model: Any, sampling_rate: int) -> FrameGrid:
    """Shift and offset (seconds) of a model's encoder frames.

    The shift is measured: frames counted over silence of two lengths, rounded to whole frontend hops.  The
    offset is that of the frontend and of what stands in front of the encoder's layers: encoders of this
    package say it, strided convolutions of ESPnet's show it.  Where neither is known, frames are taken to
    tile the audio from its start.

    Args:
        model: ESPnet ASR model in evaluation mode.
        sampling_rate: Hz.
    """
    device = next(model.parameters()).device
    lengths = torch.tensor([_PROBE_SAMPLES, 2 * _PROBE_SAMPLES], device=device)
    with torch.no_grad():
        _, frames = model.encode(torch.zeros(2, 2 * _PROBE_SAMPLES, device=device), lengths)
    shift = _PROBE_SAMPLES / int(frames[1] - frames[0])
    hop = _input_step(model)
    if hop is None:
        return FrameGrid(shift / sampling_rate)
    shift = round(shift / hop) * hop
    centre = _first_centre(model.encoder) * hop
    stft = getattr(model.frontend, "stft", None)
    if stft is not None and not stft.center:
        centre += stft.n_fft / 2
    return FrameGrid(shift / sampling_rate, (centre - shift / 2) / sampling_rate)


def sampling_rate_of(configuration: Any) -> int:
    """Hz that a training's frontend was configured for; ESPnet's default is 16000.

    Args:
        configuration: of the training, with `frontend_conf` as an attribute.
    """
    rate = (getattr(configuration, "frontend_conf", None) or {}).get("fs", 16000)
    return int(humanfriendly_parse_size_or_none(str(rate)))


def _input_step(model: Any) -> int | None:
    """Samples from one input of the encoder to the next; None where it is not known."""
    if isinstance(model.encoder, PackageEncoder) and model.encoder.takes_waveform:
        return 1
    return getattr(model.frontend, "hop_length", None)


def _first_centre(encoder: nn.Module) -> float:
    """Where the first output frame is centred, in inputs of the encoder; 0 is the centre of the first."""
    if isinstance(encoder, PackageEncoder):
        return encoder.first_centre
    centre, jump = 0.0, 1
    # ESPnet's Conv2dSubsampling and its relatives: time is the first axis of their kernels.
    for layer in getattr(getattr(encoder, "embed", None), "conv", None) or ():
        if isinstance(layer, nn.Conv2d):
            padding = layer.padding[0] if isinstance(layer.padding, tuple) else 0
            centre += ((layer.kernel_size[0] - 1) / 2 - padding) * jump
            jump *= layer.stride[0]
    return centre
