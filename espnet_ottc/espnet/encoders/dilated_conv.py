"""A small, fast encoder: residual dilated convolutions, most of them at half the output's frame rate."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from espnet_ottc.espnet.encoders.interface import PackageEncoder
from espnet_ottc.ops.validation import valid_mask


class DilatedConvEncoder(PackageEncoder):
    """Strided input convolution, then residual dilated convolutions (`encoder: dilated_conv`).

    The blocks of the core see `pooling` frames as one, which costs a fraction and sees further; their
    result is added to the frames that went in, and the blocks behind it work at the rate of the output.

    Output frame i stands for the input frames [s·i, s·(i+1)), s = `subsampling`: the input convolution is
    centred on them, so that its times are not shifted.  An utterance of T frames gives ceil(T/s).  Padding
    never reaches valid frames: it is set to zero in front of every convolution, and layer normalisation
    looks at one frame at a time.

    Args:
        input_size: width of the features.
        channels: width of the blocks, and of the output.
        dilations: one block of the core for each, its dilation in frames of the core.
        output_dilations: one block behind the core for each, in frames of the output.
        kernel_size: of the dilated convolutions, odd.
        subsampling: s, input frames per output frame; 2, 3, 4 make 20, 30, 40 ms of 10 ms features.
        pooling: output frames per frame of the core.
        dropout: probability that a channel is dropped from an utterance, in training mode.

    Raises:
        ValueError: a size below 1, an even kernel, no block, or a dropout outside [0, 1).
    """

    name = "dilated_conv"

    def __init__(
        self,
        input_size: int,
        *,
        channels: int = 128,
        dilations: Sequence[int] = (1, 2, 2, 1, 2, 2),
        output_dilations: Sequence[int] = (1, 1),
        kernel_size: int = 3,
        subsampling: int = 2,
        pooling: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _check_sizes(
            input_size=[input_size],
            channels=[channels],
            kernel_size=[kernel_size],
            subsampling=[subsampling],
            pooling=[pooling],
            dilations=dilations,
            output_dilations=output_dilations,
        )
        if not dilations and not output_dilations:
            raise ValueError("dilations and output_dilations must name a block; both are empty")
        if kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size must be odd, so that frames stay centred; got {kernel_size}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        self.subsampling = subsampling
        self.pooling = pooling
        # As many frames to either side as an output frame stands for.
        self.input = nn.Conv1d(input_size, channels, 3 * subsampling, stride=subsampling)
        self.pool = nn.Linear(pooling * channels, channels)
        self.core = nn.ModuleList(
            ResidualBlock(channels, kernel_size, dilation, dropout) for dilation in dilations
        )
        self.unpool = nn.Linear(channels, pooling * channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, kernel_size, dilation, dropout) for dilation in output_dilations
        )
        self.norm = nn.LayerNorm(channels)

    @property
    def first_centre(self) -> float:
        """Where the first output frame is centred, in frames of the input; 0 is the centre of the first."""
        return (self.subsampling - 1) / 2

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
        olens = _divide_up(ilens, s)
        valid = valid_mask(ilens, xs_pad.shape[1])[..., None]
        features = torch.where(valid, xs_pad, 0.0).transpose(1, 2)
        features = F.pad(features, (s, s * frames - xs_pad.shape[1] + s))
        mask = valid_mask(olens, frames)[..., None]
        hidden = torch.where(mask, F.gelu(self.input(features)).transpose(1, 2), 0.0)
        if len(self.core):
            hidden = hidden + self._core(hidden, olens)
        for block in self.blocks:
            hidden = block(hidden, mask)
        return torch.where(mask, self.norm(hidden), 0.0), olens, None

    def _core(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C) through the blocks that see `pooling` frames as one."""
        batch, frames, channels = hidden.shape
        cells = -(-frames // self.pooling)
        hidden = F.pad(hidden, (0, 0, 0, cells * self.pooling - frames))
        hidden = self.pool(hidden.reshape(batch, cells, self.pooling * channels))
        mask = valid_mask(_divide_up(lengths, self.pooling), cells)[..., None]
        for block in self.core:
            hidden = block(hidden, mask)
        result: Tensor = self.unpool(hidden).reshape(batch, cells * self.pooling, channels)
        return result[:, :frames]


class ResidualBlock(nn.Module):
    """x + W dropout(GELU(conv(norm(x)))): layer norm, dilated convolution, GELU, dropout, linear."""

    def __init__(self, channels: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        # One matrix product over shifted copies: on a CPU faster than a dilated Conv1d.
        self.conv = nn.Linear(kernel_size * channels, channels)
        self.linear = nn.Linear(channels, channels)
        self.offsets = [dilation * k for k in range(kernel_size)]
        self.dropout = dropout

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C) from (B, T, C); `mask` (B, T, 1) is true in valid frames."""
        frames = hidden.shape[1]
        update = torch.where(mask, self.norm(hidden), 0.0)
        padded = F.pad(update, (0, 0, self.offsets[-1] // 2, self.offsets[-1] // 2))
        copies = [padded[:, offset : offset + frames] for offset in self.offsets]
        update = F.gelu(self.conv(torch.cat(copies, 2)))
        if self.training and self.dropout:
            # Whole channels of an utterance: a number to draw for each instead of each frame's.
            update = update * F.dropout(torch.ones_like(update[:, :1]), self.dropout)
        result: Tensor = hidden + self.linear(update)
        return result


def _check_sizes(**sizes: Sequence[int]) -> None:
    for name, values in sizes.items():
        for value in values:
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")


def _divide_up(lengths: Tensor, divisor: int) -> Tensor:
    return torch.div(lengths + divisor - 1, divisor, rounding_mode="floor")
