"""Pretrained encoders on the raw waveform: wav2vec 2.0, XLS-R, HuBERT and WavLM, by torchaudio."""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from espnet_ottc.alignment.convolutions import Stride
from espnet_ottc.espnet.encoders import pretrained
from espnet_ottc.espnet.encoders.interface import PackageEncoder
from espnet_ottc.espnet.encoders.masking import span_mask
from espnet_ottc.ops.validation import raise_first, valid_mask
from espnet_ottc.utils.training_checkpoints import CHECKPOINT

# Of torch's layer_norm, which torchaudio's bundles have their waveforms normalised by.
_EPSILON = 1e-5


class TorchaudioWav2Vec2Encoder(PackageEncoder):
    """A model of torchaudio's wav2vec2 family (`encoder: torchaudio_wav2vec2`), with `input_size: 1`.

    The modules and their numbers are torchaudio's; batches are handled here, so that an utterance's output
    does not depend on its neighbours: torchaudio normalises waveforms over the whole batch, its group norm
    counts padding, and its WavLM takes no lengths.

    The constructor makes random weights.  Those of the bundle, or of `weights`, are loaded by
    `load_weights`, which a training does at its start: whoever loads a checkpoint afterwards (inference,
    `--resume`, `--init_param`) needs neither a download nor the file.

    Args:
        input_size: 1, the raw waveform.
        bundle: name of one in `torchaudio.pipelines`, such as WAV2VEC2_LARGE_LV60K; None: `model_conf`
            has all sizes.
        weights: a state dict of torchaudio's, in place of the bundle's; None: the bundle's, or random ones
            where there is no bundle.
        model_conf: arguments of torchaudio's `wav2vec2_model` or `wavlm_model` (sizes, dropouts,
            `encoder_layer_drop`), laid over the bundle's.
        normalize_waveform: mean 0 and variance 1 over each utterance's samples; None: as the bundle wants
            it, or no.
        freeze_extractor: no gradient for the convolutions on the waveform.
        mask_prob: share of the frames behind the projection to replace by a learnt vector, in training, not
            counting overlaps; in [0, 1].
        mask_length: frames of one such mask.
        mask_channel_prob: share of the channels to set to zero, likewise.
        mask_channel_length: channels of one such mask.
        gradient_checkpointing: compute the transformer's layers again in the backward pass instead of
            keeping what is inside them.
        lr_scale: the learning rate of the topmost layer, as a factor on the optimizer's.
        layer_lr_decay: the factor of each layer on that of the layer above it, in (0, 1].

    Raises:
        ValueError: an option outside its range, another input size, an unknown bundle, or sizes that are
            unknown or missing.
    """

    name = "torchaudio_wav2vec2"
    takes_waveform = True

    def __init__(
        self,
        input_size: int,
        *,
        bundle: str | None = None,
        weights: str | None = None,
        model_conf: Mapping[str, Any] | None = None,
        normalize_waveform: bool | None = None,
        freeze_extractor: bool = True,
        mask_prob: float = 0.0,
        mask_length: int = 10,
        mask_channel_prob: float = 0.0,
        mask_channel_length: int = 64,
        gradient_checkpointing: bool = False,
        lr_scale: float = 1.0,
        layer_lr_decay: float = 1.0,
    ) -> None:
        super().__init__()
        if input_size != 1:
            raise ValueError(
                "encoder: torchaudio_wav2vec2 takes the raw waveform, so the configuration needs "
                f"input_size: 1 (no frontend); got {input_size} features"
            )
        for name, value in (("mask_prob", mask_prob), ("mask_channel_prob", mask_channel_prob)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {value}")
        for name, size in (
            ("mask_length", mask_length),
            ("mask_channel_length", mask_channel_length),
        ):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}")
        if not lr_scale > 0:
            raise ValueError(f"lr_scale must be positive, got {lr_scale}")
        if not 0 < layer_lr_decay <= 1:
            raise ValueError(f"layer_lr_decay must lie in (0, 1], got {layer_lr_decay}")
        if normalize_waveform is None:
            normalize_waveform = bundle is not None and bool(
                pretrained.find_bundle(bundle)._normalize_waveform
            )
        self.bundle = bundle
        self.weights = weights
        self.normalize_waveform = normalize_waveform
        self.mask_prob, self.mask_length = mask_prob, mask_length
        self.mask_channel_prob, self.mask_channel_length = mask_channel_prob, mask_channel_length
        self.gradient_checkpointing = gradient_checkpointing
        self.lr_scale, self.layer_lr_decay = lr_scale, layer_lr_decay
        self.freeze_extractor = freeze_extractor
        self.model = pretrained.build_model(bundle, model_conf or {})
        self.model.feature_extractor.requires_grad_(not freeze_extractor)
        # torchaudio's weights have no mask vector: it starts as silence does in SpecAugment.
        self.mask_embedding = nn.Parameter(torch.zeros(self.output_size())) if mask_prob else None
        layers = self.model.feature_extractor.conv_layers
        stride = Stride.of((layer.kernel_size, layer.stride) for layer in layers)
        self.receptive_field, self.hop = stride.field, stride.samples

    def output_size(self) -> int:
        """Width of the output."""
        width: int = self.model.encoder.feature_projection.projection.out_features
        return width

    @property
    def first_centre(self) -> float:
        """Where the first output frame is centred, in samples; 0 is the first sample."""
        return (self.receptive_field - 1) / 2

    @property
    def pretrained_names(self) -> set[str]:
        """Names of the parameters that `load_weights` sets; empty for a random start."""
        if self.bundle is None and self.weights is None:
            return set()
        return {f"model.{name}" for name in self.model.state_dict()}

    def load_weights(self) -> None:
        """Load the pretrained weights, from `weights` or as the bundle's; nothing for a random start.

        Raises:
            FileNotFoundError: no such file, or a download that failed; it says what to put where.
            ValueError: weights that do not fit; it names the parameters.
        """
        if self.weights is not None:
            pretrained.load_file(self.model, Path(self.weights))
        elif self.bundle is not None:
            pretrained.load_bundle(self.model, self.bundle)

    def check_model(self, model: nn.Module) -> None:
        """Nothing may stand between the waveform and the encoder.

        Raises:
            ValueError: normalisation, SpecAugment or a pre-encoder.
        """
        for option in ("normalize", "specaug", "preencoder"):
            if getattr(model, option, None) is not None:
                raise ValueError(
                    f"encoder: {self.name} takes the raw waveform: {option} must be null "
                    f"(ESPnet's default for normalize is utterance_mvn), got {getattr(model, option)}"
                )

    def prepare_training(self, args: argparse.Namespace) -> None:
        """Load the pretrained weights, unless a checkpoint or --init_param has all of them.

        Raises:
            FileNotFoundError, ValueError: as `load_weights`.
        """
        if args.collect_stats or args.dry_run:
            return
        if args.resume and (Path(args.output_dir) / CHECKPOINT).exists():
            return
        names = {f"encoder.{name}" for name in self.pretrained_names}
        if names.difference(*map(pretrained.parameters_in, args.init_param)):
            self.load_weights()

    def learning_rate_factors(self) -> dict[str, float]:
        """A factor on the learning rate for each of the encoder's parameters, by name.

        The topmost of L layers has `lr_scale`, layer l (from 0) has `lr_scale * layer_lr_decay ** (L-1-l)`,
        and what lies below the layers `lr_scale * layer_lr_decay ** L`.
        """
        transformer = self.model.encoder.transformer
        count = len(transformer.layers)
        factors = {}
        for name, _ in self.named_parameters():
            layer = re.match(r"model\.encoder\.transformer\.layers\.(\d+)\.", name)
            below = count if layer is None else count - 1 - int(layer[1])
            if name.startswith("model.encoder.transformer.layer_norm."):
                below = count if transformer.layer_norm_first else 0
            factors[name] = self.lr_scale * self.layer_lr_decay**below
        return factors

    def forward(
        self, xs_pad: Tensor, ilens: Tensor, prev_states: Tensor | None = None
    ) -> tuple[Tensor, Tensor, None]:
        """Encode a padded batch.

        Args:
            xs_pad: (B, N) waveforms; what stands in the padding is ignored.
            ilens: (B,) valid samples.
            prev_states: ESPnet's interface for streaming; not used.

        Returns:
            output (B, T, output_size()), zero in the padding; its lengths, for n samples
            (n − receptive_field) // hop + 1; and None.

        Raises:
            ValueError: no (B, N) batch, or an utterance shorter than the receptive field.
        """
        if xs_pad.dim() != 2:
            raise ValueError(f"speech must have shape (B, N) samples, got {tuple(xs_pad.shape)}")
        raise_first(
            ilens < self.receptive_field,
            lambda b: (
                f"speech must have at least {self.receptive_field} samples for one frame of the "
                f"encoder, got {int(ilens[b])}"
            ),
        )
        valid = valid_mask(ilens, xs_pad.shape[1])
        waveform = torch.where(valid, xs_pad, 0.0)
        if self.normalize_waveform:
            waveform = torch.where(valid, _normalized(waveform, valid), 0.0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_extractor):
            features, olens = self._extract(waveform, ilens)
        hidden = self.model.encoder.feature_projection(features)
        mask = valid_mask(olens, hidden.shape[1])
        if self.training:
            hidden = self._masked(hidden, olens)
        hidden = self._transform(torch.where(mask[..., None], hidden, 0.0), mask)
        return torch.where(mask[..., None], hidden, 0.0), olens, None

    def _extract(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, C) features and their lengths from (B, N) samples."""
        hidden = waveform[:, None]
        for layer in self.model.feature_extractor.conv_layers:
            if isinstance(layer.layer_norm, nn.GroupNorm) and int(lengths.min()) < hidden.shape[2]:
                lengths = (lengths - layer.kernel_size) // layer.stride + 1
                hidden = layer.conv(hidden)
                hidden = F.gelu(_normalized_channels(hidden, lengths, layer.layer_norm))
            else:
                hidden, lengths = layer(hidden, lengths)
        return hidden.transpose(1, 2), lengths

    def _masked(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Spans of frames and of channels masked, other ones for each utterance."""
        batch, frames, width = hidden.shape
        if self.mask_embedding is not None:
            spans = span_mask(lengths, frames, self.mask_prob, self.mask_length)
            hidden = torch.where(spans[..., None], self.mask_embedding.to(hidden.dtype), hidden)
        if self.mask_channel_prob:
            widths = torch.full((batch,), width, device=hidden.device)
            spans = span_mask(widths, width, self.mask_channel_prob, self.mask_channel_length)
            hidden = torch.where(spans[:, None], 0.0, hidden)
        return hidden

    def _transform(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) through the transformer; `mask` (B, T) is true in valid frames."""
        transformer = self.model.encoder.transformer
        batch, frames, _ = hidden.shape
        hidden = transformer._preprocess(hidden)
        attention_mask, bias, padding = None, None, None
        first = transformer.layers[0].attention
        if hasattr(first, "compute_bias"):
            # WavLM.  Its first layer makes the bias for all; here it may be dropped.
            bias = first.compute_bias(frames, frames)[None].expand(batch, -1, -1, -1)
            padding = torch.zeros_like(hidden[..., 0]).masked_fill(~mask, -torch.inf)
        elif not bool(mask.all()):
            attention_mask = mask[:, None, None].expand(-1, 1, frames, -1)
        for layer in transformer.layers:
            if self.training and torch.rand(()).item() < transformer.layer_drop:
                continue
            arguments = (hidden, attention_mask, bias, padding)
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                hidden, _ = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                hidden, _ = layer(*arguments)
        # torchaudio's name says where the norm of the whole stands: in front of the layers, or behind.
        return hidden if transformer.layer_norm_first else transformer.layer_norm(hidden)


def _normalized(waveform: Tensor, valid: Tensor) -> Tensor:
    """Mean 0 and variance 1 over each utterance's valid samples; the padding of `waveform` is zero."""
    count = valid.sum(1, keepdim=True)
    centred = waveform - waveform.sum(1, keepdim=True) / count
    variance = torch.where(valid, centred.square(), 0.0).sum(1, keepdim=True) / count
    return centred * (variance + _EPSILON).rsqrt()


def _normalized_channels(hidden: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """A group norm with a group per channel over the valid frames of (B, C, T)."""
    assert norm.num_groups == norm.num_channels == hidden.shape[1]
    valid = valid_mask(lengths, hidden.shape[2])[:, None]
    values = hidden.float()
    count = lengths[:, None, None]
    centred = values - torch.where(valid, values, 0.0).sum(2, keepdim=True) / count
    variance = torch.where(valid, centred.square(), 0.0).sum(2, keepdim=True) / count
    scaled = centred * (variance + norm.eps).rsqrt()
    return (scaled * norm.weight[:, None] + norm.bias[:, None]).to(hidden.dtype)
