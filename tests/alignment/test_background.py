"""Digital silence is heard as a room, and nothing else is changed."""

import torch

from espnet_ottc.alignment.background import with_background
from espnet_ottc.alignment.steady_sound import without_steady_sound

RATE = 16000


def _speech(seconds: float, room: float = 0.002) -> torch.Tensor:
    """Bursts of noise of changing loudness and length, with a quiet room between them."""
    draw = torch.Generator().manual_seed(1)
    pieces = []
    while sum(map(len, pieces)) < seconds * RATE:
        burst = torch.randn(int(torch.randint(800, 3200, (1,), generator=draw)), generator=draw)
        pieces += [0.2 * float(torch.rand(1, generator=draw)) * burst, torch.zeros(1600)]
    samples = torch.cat(pieces)[: int(seconds * RATE)]
    return samples + room * torch.randn(len(samples), generator=draw)


def test_a_recording_without_digital_silence_is_given_back() -> None:
    samples = _speech(3)
    assert with_background(samples, RATE) is samples
    for none in (torch.zeros(0), torch.zeros(100), torch.zeros(RATE)):
        assert with_background(none, RATE) is none


def test_digital_silence_is_as_loud_as_the_quietest_sound() -> None:
    samples = _speech(3)
    samples[8000:12000] = 0.0
    samples[-1000:] = 0.0
    before = samples.clone()
    found = with_background(samples, RATE)
    assert samples.equal(before)
    for part in (slice(8000, 12000), slice(-1000, None)):
        assert 0.5 < float(found[part].std()) / 0.002 < 2
    changed = (found != samples).nonzero()[:, 0]
    assert int(changed[0]) >= 8000
    assert bool(((changed < 12000) | (changed >= len(samples) - 1000)).all())
    assert found.equal(with_background(samples, RATE))


def test_the_noise_is_never_loud() -> None:
    # All quiet frames are dead, as behind a noise gate.
    samples = _speech(3, room=0.0)
    found = with_background(samples, RATE)
    assert float(found[samples == 0].std()) <= 0.0101 * float(samples.abs().max())


def test_digital_silence_is_shortened_from_three_tenths_of_a_second_on() -> None:
    samples = _speech(3)
    for seconds, left in ((0.2, 0.2), (0.5, 0.2), (2.0, 0.2)):
        both = torch.cat([samples, torch.zeros(round(seconds * RATE)), samples])
        sound = without_steady_sound(both, RATE)
        assert abs(len(sound.samples) / RATE - 6 - left) < 0.03
        assert abs(sound.time(len(sound.samples) / RATE) - len(both) / RATE) < 1e-6
        assert bool((sound.samples.unfold(0, 160, 160).std(1) > 1e-5).all())
