"""A small experiment on disk: two systems, two seeds, two utterances of noise."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem
from torch.utils.tensorboard import SummaryWriter

from espnet_ottc.alignment.formats import write_ctm
from espnet_ottc.alignment.spans import Span
from espnet_ottc.report.records import results_text

RATE = 8000
WORDS = {
    "utt-a": [("HELLO", 0.1, 0.4), ("THERE", 0.5, 0.9)],
    "utt-b": [("GOOD", 0.2, 0.45), ("BYE", 0.6, 0.8)],
}
# Every number of a row differs from every other, so that a mix-up shows.
METRICS = {
    "wer": 5.13,
    "cer": 2.37,
    "boundary_mae_ms": 61.7,
    "boundary_median_ms": 48.3,
    "idr": 81.9,
    "iou": 74.6,
    "start_f1": 97.4,
    "strict_f1_20ms": 33.1,
    "peaky": 12.8,
    "coverage": 99.2,
    "start_mae_ms": 40.1,
    "end_mae_ms": 52.3,
    "start_bias_ms": 9.4,
    "end_bias_ms": 0.5,
    "within_50ms": 69.2,
    "within_200ms": 99.1,
}
COUNTS = {
    "words": {
        "sentences": 211,
        "words": 1087,
        "correct": 1031,
        "substitutions": 41,
        "deletions": 15,
        "insertions": 7,
        "wrong_sentences": 53,
    },
    "characters": None,
    "times": {
        "boundaries": 2143,
        "reference_words": 1087,
        "matched_words": 1069,
        "frames": 17321,
        "special_frames": 4519,
    },
}
INTERVALS = {"wer": [3.91, 6.47], "idr": [80.3, 83.6], "peaky": None}


class Experiment:
    """Folders as the recipe leaves them, and the rows of `results.jsonl`."""

    def __init__(self, root: Path) -> None:
        self.exp, self.data = root / "exp", root / "data"
        self.html, self.markdown = root / "exp" / "report.html", root / "RESULTS.md"
        self.rows: list[dict[str, Any]] = []

    @property
    def results(self) -> Path:
        return self.exp / "results.jsonl"

    def save(self) -> None:
        self.exp.mkdir(parents=True, exist_ok=True)
        self.results.write_text(results_text(self.rows), encoding="utf-8")

    def arguments(self) -> list[str]:
        self.save()
        paths = {
            "results": self.results,
            "expdir": self.exp,
            "data": self.data,
            "html": self.html,
            "markdown": self.markdown,
        }
        return [word for name, path in paths.items() for word in (f"--{name}", str(path))]

    def folder(self, system: str, seed: int) -> Path:
        return self.exp / system / f"seed{seed}"

    def write_set(self, words: Mapping[str, list[tuple[str, float, float]]]) -> None:
        cuts = []
        folder = self.data / "test-x"
        folder.mkdir(parents=True, exist_ok=True)
        for number, (name, items) in enumerate(words.items()):
            samples = 0.1 * np.random.default_rng(number).standard_normal(RATE)
            soundfile.write(folder / f"{number}.wav", samples, RATE, subtype="PCM_16")
            supervision = SupervisionSegment(
                id=name,
                recording_id=name,
                start=0.0,
                duration=1.0,
                text=" ".join(word for word, _, _ in items),
                alignment={"word": [AlignmentItem(w, s, round(e - s, 6)) for w, s, e in items]},
            )
            recording = Recording.from_file(folder / f"{number}.wav", recording_id=name)
            cuts.append(MonoCut(name, 0.0, 1.0, 0, [supervision], recording=recording))
        CutSet.from_cuts(cuts).to_file(folder / "cuts.jsonl.gz")

    def write_times(self, system: str, seed: int, decoder: str, late: float) -> None:
        folder = self.folder(system, seed) / f"align_{decoder}" / "test-x"
        spans = {
            name: [Span(word, start + late, end + late / 2) for word, start, end in items]
            for name, items in WORDS.items()
        }
        write_ctm(folder / "words.ctm", spans)
        write_ctm(folder / "tokens.ctm", spans)

    def write_curves(self, system: str, seed: int) -> None:
        """Events as ESPnet 202511 writes them: values of intervals, then the epoch's mean."""
        for phase in ("train", "valid"):
            writer = SummaryWriter(str(self.folder(system, seed) / "tensorboard" / phase))
            for epoch in (1, 2, 3):
                if phase == "train":
                    writer.add_scalar("loss", 999.0, 10 * epoch - 5)
                    writer.add_scalar("loss", 888.0, 10 * epoch)
                    writer.add_scalar("iter_epoch", epoch, 10 * epoch)
                writer.add_scalar("loss", 100.0 / epoch + (phase == "valid"), 10 * epoch)
                if phase == "valid":
                    writer.add_scalar("cer_ctc", 0.5 / epoch, 10 * epoch)
            writer.close()

    def write_snapshots(self, system: str, seed: int, epochs: int = 3) -> None:
        folder = self.folder(system, seed)
        (folder / "alignments").mkdir(parents=True)
        for epoch in range(1, epochs + 1):
            alpha = np.arange(1, 11) ** (1 / epoch)
            entry = {
                "frames": 10,
                "labels": [1, 2, 3, 1],
                "starts": [0.0, 1.0 + epoch / 10, 4.0, 8.0],
                "alpha": (alpha / alpha.sum()).tolist(),
            }
            path = folder / "alignments" / f"{epoch}epoch.json"
            path.write_text(json.dumps({"utt-a": entry}))
        config = "token_type: char\ntoken_list: ['<blank>', '<space>', H, I]\n"
        (folder / "config.yaml").write_text(config)


def row(system: str, decoder: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A row of `results.jsonl` with every field that the report knows."""
    metrics = {name: round(value + seed / 5, 2) for name, value in METRICS.items()}
    provenance = {
        "commit": "c0ffee5",
        "dirty": True,
        "versions": {"torch": "2.11.0", "espnet": "202511"},
        "config": f"conf/{system}.yaml",
        "command": f"asr_train --config conf/{system}.yaml --seed {seed}",
        "hardware": {"cores": 2, "gpus": []},
    }
    key = {"system": system, "decoder": decoder, "set": "test-x", "seed": seed}
    about = {"counts": COUNTS, "intervals": INTERVALS, "provenance": provenance}
    return {**key, **metrics, **about, **changes}


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    """An experiment with everything the report shows."""
    made = Experiment(tmp_path)
    made.write_set(WORDS)
    for seed in (2, 1):
        made.write_curves("ctc", seed)
        made.write_curves("ottc", seed)
        made.write_times("ctc", seed, "forced", 0.11)
        made.write_times("ottc", seed, "viterbi", 0.03)
        made.rows += [row("ctc", "forced", seed), row("ottc", "viterbi", seed)]
    made.write_snapshots("ottc", 1)
    made.save()
    return made


@pytest.fixture
def make_row() -> Any:
    """The maker of rows."""
    return row
