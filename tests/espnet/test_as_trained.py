"""Recordings that are quieter than a model's training, or lack bands, are heard as it would have had them."""

import math

import numpy as np
import pytest
import torch
from espnet2.asr.frontend.default import DefaultFrontend
from espnet2.layers.global_mvn import GlobalMVN
from espnet2.layers.utterance_mvn import UtteranceMVN
from torch import nn

from espnet_ottc.espnet.as_trained import AsTrained
from espnet_ottc.espnet.decoding.windowed import WindowedEncoding

RATE = 16000


def _speech(seconds, seed):
    """Bursts of noise with a spectrum of their own and pauses between them, over a quiet room."""
    draw = torch.Generator().manual_seed(seed)
    pieces = []
    while sum(map(len, pieces)) < seconds * RATE:
        size = int(torch.randint(1600, 4800, (1,), generator=draw))
        burst = torch.fft.rfft(torch.randn(size, generator=draw))
        tilt = 10 ** (-2 * torch.rand(1, generator=draw) * torch.linspace(0, 1, len(burst)))
        pieces += [0.1 * torch.fft.irfft(burst * tilt, size), torch.zeros(size // 2)]
    sound = torch.cat(pieces)[: int(seconds * RATE)]
    return sound + 1e-3 * torch.randn(len(sound), generator=draw)


def _without_band(samples, above):
    spectrum = torch.fft.rfft(samples)
    spectrum[round(above * len(samples) / RATE) :] = 0
    return torch.fft.irfft(spectrum, len(samples))


class _Model(nn.Module):
    """The parts of ESPnet's model that make features; its encoder hands them on."""

    def __init__(self, normalize):
        super().__init__()
        self.frontend, self.normalize = DefaultFrontend(n_fft=512, hop_length=160), normalize

    def encode(self, speech, lengths):
        return self.normalize(*self.frontend(speech, lengths))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    frontend = DefaultFrontend(n_fft=512, hop_length=160)
    found = torch.cat(
        [frontend(_speech(8, n)[None], torch.tensor([8 * RATE]))[0][0] for n in range(20)]
    )
    sums = {"sum": found.sum(0).numpy(), "sum_square": found.square().sum(0).numpy()}
    path = tmp_path_factory.mktemp("statistics") / "stats.npz"
    np.savez(path, count=np.array(len(found)), **sums)
    return _Model(GlobalMVN(path)).eval()


@pytest.fixture(scope="module")
def as_trained(model):
    return AsTrained.of(model, RATE)


def _normalised(model, samples):
    return model.encode(samples[None].clone(), torch.tensor([len(samples)]))[0][0]


@pytest.mark.parametrize("gain", [0.6, 1.0, 1.6])
def test_a_recording_like_those_of_the_training_stays_as_it_is(as_trained, gain):
    samples = gain * _speech(5, 100)
    assert as_trained(samples) is samples


@pytest.mark.parametrize("decibels", [-50, -30, -20, 20, 40])
def test_a_recording_of_another_loudness_gets_that_of_the_training(model, as_trained, decibels):
    samples = _speech(5, 100)
    found = as_trained(samples * 10 ** (decibels / 20))
    factor = float((found / samples).median())
    assert torch.allclose(found, samples * factor, atol=1e-5)
    assert abs(math.log(factor)) < 0.5
    assert _normalised(model, found).mean(0).median().abs() < 0.3


@pytest.mark.parametrize("decibels", [0, -30])
@pytest.mark.parametrize("above", [3400, 5500, 7300])
def test_an_empty_band_gets_noise_that_follows_the_bands_beside_it(
    model, as_trained, above, decibels
):
    samples, gain = _speech(5, 100), 10 ** (decibels / 20)
    lacking = _without_band(samples, above)
    before, after = _normalised(model, lacking), _normalised(model, as_trained(lacking * gain))
    empty = before.quantile(0.98, 0) < -3
    assert 0 < int(empty.sum()) < 40
    known = _normalised(model, as_trained(samples * gain))
    assert after[:, empty].mean(0).abs().max() < 0.6
    both = torch.stack([after[:, empty].mean(1), known[:, empty].mean(1)])
    assert both.corrcoef()[0, 1] > 0.9
    # What is heard in the others stays, up to the loudness.
    heard = ~(before.quantile(0.98, 0) < 0)
    assert (after - known)[:, heard].abs().mean() < 0.35


def test_low_bands_may_be_empty_too_and_the_last_block_short(model, as_trained):
    samples = _speech(60.01, 100)
    spectrum = torch.fft.rfft(samples)
    spectrum[: round(300 * len(samples) / RATE)] = 0
    lacking = torch.fft.irfft(spectrum, len(samples))
    empty = _normalised(model, lacking).quantile(0.98, 0) < -2
    assert 0 < int(empty.sum()) < 20
    after, known = _normalised(model, as_trained(lacking)), _normalised(model, samples)
    both = torch.stack([after[:, empty].mean(1), known[:, empty].mean(1)])
    assert both.corrcoef()[0, 1] > 0.8


def test_most_of_a_recording_may_be_silent(as_trained):
    samples = _speech(5, 100)
    silent = torch.cat([torch.zeros(20 * RATE), samples, torch.zeros(20 * RATE)])
    assert torch.equal(as_trained(silent), silent)


def test_steady_sound_is_not_made_as_loud_as_speech(as_trained):
    hiss = 1e-4 * torch.randn(5 * RATE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(as_trained(hiss), hiss)
    lacking = as_trained(_without_band(hiss, 4000))
    assert lacking.abs().max() < 10 * hiss.abs().max()


@pytest.mark.parametrize("samples", [torch.zeros(RATE), torch.zeros(400), torch.randn(200) * 0.1])
def test_silence_and_the_shortest_recordings_are_taken(as_trained, samples):
    found = as_trained(samples)
    assert found.shape == samples.shape
    assert bool(found.isfinite().all())


def test_pieces_of_a_long_recording_say_the_same_as_all_of_it(as_trained):
    samples = torch.cat([_speech(60, n) for n in range(4)]) * 0.03
    short = as_trained(samples[: 60 * RATE])
    long = as_trained(samples)
    assert float((long[: 60 * RATE] / short).median()) == pytest.approx(1, rel=0.1)
    lacking = _without_band(samples, 4000)
    before = lacking.clone()
    assert torch.equal(as_trained(lacking), as_trained(lacking))
    assert torch.equal(lacking, before)


def test_a_model_without_statistics_hears_recordings_as_they_are(model):
    assert AsTrained.of(_Model(UtteranceMVN()), RATE) is None
    assert AsTrained.of(_Model(None), RATE) is None
    means_alone = GlobalMVN(model.normalize.stats_file, norm_vars=False)
    assert AsTrained.of(_Model(means_alone), RATE) is None


def test_recognition_hears_recordings_as_the_aligner_does(model, as_trained):
    samples = _without_band(_speech(5, 100), 5000) * 0.02
    encode = WindowedEncoding(model, RATE)
    found, _ = encode(samples[None], torch.tensor([len(samples)]))
    assert torch.equal(found[0], _normalised(model, as_trained(samples)))


def test_each_channel_of_a_recording_is_changed_alike(model, as_trained):
    samples = _without_band(_speech(40, 100), 5500)
    both = torch.stack([samples, 0.5 * samples], 1)
    # The features are those of the first channel.
    first, second = as_trained(both).T
    alone = as_trained(samples)
    assert torch.allclose(first, alone, atol=1e-6)
    assert torch.allclose(second - 0.5 * samples, alone - samples, atol=1e-6)
    speech, lengths = both[None, : 5 * RATE], torch.tensor([5 * RATE])
    encoded, frames = WindowedEncoding(model, RATE)(speech, lengths)
    assert encoded.shape[1] == int(frames[0])
    assert both.equal(torch.stack([samples, 0.5 * samples], 1))
