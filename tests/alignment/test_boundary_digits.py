"""A boundary model trained on 40 recordings of real speech, against known times: minutes, so marked slow."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from espnet_ottc.alignment.boundary.aligner import BoundaryAlignment, align_features
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.training import train_boundary_model
from espnet_ottc.alignment.formats import read_ctm

soundfile = pytest.importorskip("soundfile")
DIGITS = Path(__file__).parents[3] / "shared" / "corpora" / "digits"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DIGITS.is_dir(), reason=f"needs the digits corpus in {DIGITS}"),
]
UTTERANCES = 40


def _part(name: str) -> Iterator[tuple[SpokenText, list[tuple[float, float]]]]:
    """Each utterance with the times of its clips' edges."""
    for path in sorted((DIGITS / "LibriSpeech" / name).rglob("*.alignment.txt")):
        for line in path.read_text().splitlines():
            identity, words, ends = (one.strip('"') for one in line.split(" ", 2))
            stops = [float(one) for one in ends.split(",")]
            said = [
                (word.lower(), start, stop)
                for word, start, stop in zip(
                    words.split(","), [0.0, *stops], [*stops, stops[-1]], strict=False
                )
                if word
            ]

            def load(path: Path = path.parent / f"{identity}.flac") -> tuple[torch.Tensor, int]:
                samples, rate = soundfile.read(path, dtype="float32")
                return torch.from_numpy(samples), rate

            text = SpokenText(identity, tuple(word for word, _, _ in said), load)
            yield text, [(start, stop) for _, start, stop in said]


def test_forty_utterances_of_digits_give_boundaries_within_milliseconds() -> None:
    training = [utterance for utterance, _ in _part("train-clean-100")]
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randperm(len(training), generator=generator)[:UTTERANCES].sort().values.tolist()
    model, _ = train_boundary_model([training[i] for i in chosen], BoundaryConfig())
    # The files say 16 kHz and hold speech of 8 kHz.
    assert 3500 < model.config.high_hz < 4500
    trimmed = read_ctm(DIGITS / "trimmed" / "test-clean.ctm")
    errors, inside = [], []
    for utterance, clips in _part("test-clean"):
        samples, rate = utterance.load()
        found = align_features(
            model, model.features(samples, rate), utterance.words, len(samples) / rate
        )
        assert isinstance(found, BoundaryAlignment), found
        for k, ((outer_start, outer_end), inner) in enumerate(
            zip(clips, trimmed[utterance.name], strict=True)
        ):
            # A clip begins and ends with some quiet: the truth lies between both edges.
            for time, interval, low, high in (
                (found.words[k].start, found.start_intervals[k], outer_start, inner.start),
                (found.words[k].end, found.end_intervals[k], inner.end, outer_end),
            ):
                errors.append(abs(time - min(max(time, low), high)))
                inside.append(interval[0] <= high and interval[1] >= low)
    mean = 1e3 * sum(errors) / len(errors)
    covered = sum(inside) / len(inside)
    assert len(errors) > 1500
    # Three seeds gave 11.1 to 11.6 ms on the development part.
    assert mean < 15, f"{mean:.1f} ms"
    assert 0.82 < covered < 0.97, f"{100 * covered:.1f} %"
