"""A recording as a model's training would have had it: its loudness, and something in every band.

A model with the statistics of its training has learned how loud speech is, and that each band of the spectrum
has some sound.  Recordings are quieter by 20 dB and more, and MP3 or a telephone leave bands empty: such
features lie many standard deviations from all that was seen, and the model hears other letters.
"""

import math

import torch
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.layers.global_mvn import GlobalMVN
from torch import Tensor, nn
from torch.nn.functional import interpolate

# Nats of power by which the loudness of right recordings differs from the training's, which is left alone.
_ALIKE = 2.3
# Nats between a recording's loud and quiet frames: steady sound has less than the first, is no speech, and
# keeps its loudness; digital silence has more than the second, as no room.
_LEAST_RANGE, _RANGE = 1.0, 8.0
# Nats below the loudest frames within which a frame is sound.
_SOUND = 5.0
# Standard deviations: a band is empty whose loudest frames stay below the first; what is added to others,
# whose quiet frames may be as empty, lies at the second, and so does what is added where it is quiet.
_EMPTY, _FLOOR = -1.0, -2.5
_LOUD, _QUIET = 0.98, 0.1
# Seconds of a long recording that are looked at: pieces of one length, evenly apart.
_PIECE, _PIECES = 2.0, 32
# Bands beside an empty one that tell how loud it might be.
_BESIDE = 8
# Seconds after which the noise begins again.
_PERIOD = 30.0


class AsTrained:
    """Changes recordings whose features lie far from those of a model's training, and no others.

    Args:
        frontend: ESPnet's log-mel features.
        normalize: the mean and standard deviation of each over the training data.
        sampling_rate: Hz.
    """

    def __init__(self, frontend: DefaultFrontend, normalize: GlobalMVN, sampling_rate: int) -> None:
        self.frontend, self.normalize, self.sampling_rate = frontend, normalize, sampling_rate

    @classmethod
    def of(cls, model: nn.Module, sampling_rate: int) -> "AsTrained | None":
        """Of ESPnet's model; None where it does not keep statistics of log-mel features.

        Args:
            model: `espnet2.asr.espnet_model.ESPnetASRModel`.
            sampling_rate: Hz.
        """
        frontend, normalize = getattr(model, "frontend", None), getattr(model, "normalize", None)
        if not isinstance(frontend, DefaultFrontend) or not isinstance(normalize, GlobalMVN):
            return None
        natural = frontend.logmel.log_base is None
        if not (natural and frontend.apply_stft and normalize.norm_means and normalize.norm_vars):
            return None
        return cls(frontend, normalize, sampling_rate)

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Tensor:
        """The recording, louder or quieter by a factor and with noise in empty bands where that is needed.

        Args:
            samples: (N,) in [-1, 1]; or (N, C), as ESPnet's features take them.

        Returns:
            Likewise, in no range; the argument itself where nothing is needed, or where it has less than a
            frame.
        """
        if len(samples) < self.frontend.stft.n_fft:
            return samples
        mean, std = self._statistics()
        above = self._features(self._pieces(samples)) - mean
        frames = above.median(1).values
        loudest, quiet = frames.quantile(_LOUD), frames.quantile(_QUIET)
        # With twice as much silence as sound a recording is not taken for a quiet one.
        sound = int((frames >= loudest - _SOUND).sum())
        above = above[frames.topk(min(len(frames), 2 * sound)).indices]
        loud = above.quantile(_LOUD, 0)
        level = float(above.maximum(loud - _RANGE).mean(0).median())
        empty = (loud - level) / std < _EMPTY
        gain, heard = 1.0, 0.0
        if abs(level) > _ALIKE:
            if float(loudest - quiet) > _LEAST_RANGE:
                gain = math.exp(-level / 2)
            else:
                heard = level
        if not bool(empty.any()) or bool(empty.all()):
            return samples if gain == 1.0 else samples * gain
        return self._filled(samples, gain, heard, empty)

    def _filled(self, samples: Tensor, gain: float, level: float, empty: Tensor) -> Tensor:
        """The samples with noise in empty bands, as loud as the sound in the bands beside them.

        Args:
            samples: (N,) or (N, C).
            gain: factor on them.
            level: nats by which they are louder than the training then.
            empty: (mels,) bool.
        """
        mean, std = self._statistics()
        known = (~empty).nonzero()[:, 0]
        below = empty & (torch.arange(len(empty)) < known[0])
        sides = [
            (side, beside, float(std[side].mean()))
            for side, beside in ((below, known[:_BESIDE]), (empty & ~below, known[-_BESIDE:]))
            if bool(side.any())
        ]
        nothing = torch.tensor(-math.inf)
        floor = self._noise(torch.where(empty, nothing, level + mean + _FLOOR * std))
        noises = [self._noise(torch.where(side, level + mean, nothing)) for side, _, _ in sides]
        filled = samples * gain
        for block in filled.tensor_split(-(-len(samples) // len(floor))):
            above = (self._features(block) - mean - level) / std
            added = floor[: len(block)]
            for noise, (_, beside, spread) in zip(noises, sides, strict=True):
                loudness = above[:, beside].mean(1).clamp(min=_FLOOR) * spread / 2
                course = interpolate(loudness.exp()[None, None], len(block), mode="linear")[0, 0]
                added = added + course * noise[: len(block)]
            # The same in all channels.
            block += added.reshape(-1, *[1] * (block.dim() - 1)).to(block)
        return filled

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return self.normalize.mean.float().cpu(), self.normalize.std.float().cpu()

    def _pieces(self, samples: Tensor) -> Tensor:
        """The recording, or pieces of a long one."""
        size = round(_PIECE * self.sampling_rate)
        if len(samples) <= _PIECES * size:
            return samples
        starts = torch.linspace(0, len(samples) - size, _PIECES).long().tolist()
        return torch.cat([samples[start : start + size] for start in starts])

    def _features(self, samples: Tensor) -> Tensor:
        """(frames, mels) log-mel features."""
        samples = samples.to(self.frontend.logmel.melmat.device)
        features, _ = self.frontend(samples[None], torch.tensor([len(samples)]))
        found: Tensor = features[0].float().cpu()
        return found

    def _noise(self, levels: Tensor) -> Tensor:
        """(N,) noise with these (mels,) log-mel features; the same each time."""
        stft = self.frontend.stft
        window = torch.hann_window(stft.win_length) if stft.window else torch.ones(stft.win_length)
        bands = self.frontend.logmel.melmat.T.float().cpu()  # (mels, bins)
        # White noise of variance 1 has in each bin the window's energy on average.
        power = levels.exp() / (bands.sum(1) * window.square().sum()).clamp(min=1e-20)
        of_bins = (bands / bands.sum(0).clamp(min=1e-20) * power[:, None]).sum(0)
        count = round(_PERIOD * self.sampling_rate)
        white = torch.randn(count, generator=torch.Generator().manual_seed(0))
        frequencies = torch.fft.rfftfreq(count) * 2 * (len(of_bins) - 1)
        shape = of_bins.sqrt()[frequencies.round().long().clamp(max=len(of_bins) - 1)]
        noise: Tensor = torch.fft.irfft(torch.fft.rfft(white) * shape, count)
        return noise
