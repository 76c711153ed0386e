"""A small, fast encoder: residual dilated convolutions."""

import torch
import torch.nn.functional as F
from espnet2.asr.encoder.abs_encoder import AbsEncoder
from torch import Tensor, nn

from espnet_ottc.validation import valid_mask


class DilatedConvEncoder(AbsEncoder):  # type: ignore[misc]
    """Strided input convolution, then residual blocks of dilated convolutions (`encoder: dilated_conv`).

    Output frame i stands for the input frames [s·i, s·(i+1)), s = `subsampling`: the input convolution is
    centred on them, so that its times are not shifted.  An utterance of T frames gives ceil(T/s).  Padding
    never reaches valid frames: it is set to zero in front of every convolution, and layer normalisation
    looks at one frame at a time.

    Args:
        input_size: width of the features.
        channels: width of the blocks, and of the output.
        layers: number of blocks.
        kernel_size: of the dilated convolutions, odd.
        dilation_cycle: block l has dilation 2^(l mod dilation_cycle).
        subsampling: s, input frames per output frame; 2, 3, 4 make 20, 30, 40 ms of 10 ms features.
        dropout: probability, in training mode.

    Raises:
        ValueError: a size below 1, an even kernel, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        input_size: int,
        channels: int = 128,
        layers: int = 10,
        kernel_size: int = 5,
        dilation_cycle: int = 5,
        subsampling: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {
            "input_size": input_size,
            "channels": channels,
            "layers": layers,
            "kernel_size": kernel_size,
            "dilation_cycle": dilation_cycle,
            "subsampling": subsampling,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, so that frames stay centred; got {kernel_size}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.subsampling = subsampling
        # As many frames to either side as an output frame stands for.
        self.input = nn.Conv1d(input_size, channels, 3 * subsampling, stride=subsampling)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, kernel_size, 2 ** (index % dilation_cycle), dropout)
            for index in range(layers)
        )
        self.norm = nn.LayerNorm(channels)

    def output_size(self) -> int:
        """Width of the output."""
        return self.norm.normalized_shape[0]

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Encode a padded batch.

        Args:
            xs_pad: (B, T, input_size) features.
            ilens: (B,) valid frames.
            prev_states: ESPnet's interface for streaming; not used.

        Returns:
            output (B, ceil(T/s), channels), its lengths ceil(T_b/s), and None.
        """
        s = self.subsampling
        frames = -(-xs_pad.shape[1] // s)
        olens = torch.div(ilens + s - 1, s, rounding_mode="floor")
        valid = valid_mask(ilens, xs_pad.shape[1])[..., None]
        features = torch.where(valid, xs_pad, 0.0).transpose(1, 2)
        features = F.pad(features, (s, s * frames - xs_pad.shape[1] + s))
        hidden = F.gelu(self.input(features)).transpose(1, 2)
        mask = valid_mask(olens, frames)[..., None]
        for block in self.blocks:
            hidden = block(hidden, mask)
        return torch.where(mask, self.norm(hidden), 0.0), olens, None


class ResidualBlock(nn.Module):
    """x + W GELU(conv(norm(x))): layer norm, dilated convolution, GELU, linear, with dropout."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.conv = nn.Conv1d(
            channels,
            channels,
            kernel_size,
            dilation=dilation,
            padding=dilation * (kernel_size // 2),
        )
        self.linear = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C); `mask` (B, T, 1) is true in valid frames."""
        update = torch.where(mask, self.norm(hidden), 0.0)
        update = F.gelu(self.conv(update.transpose(1, 2))).transpose(1, 2)
        result: Tensor = hidden + self.dropout(self.linear(self.dropout(update)))
        return result
