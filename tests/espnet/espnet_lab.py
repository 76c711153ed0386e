"""A corpus of tones, and a place to train on it: each letter has its pitch, words are pauses apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import espnet2.bin.asr_inference
import espnet2.bin.asr_train  # noqa: F401
import numpy as np
import soundfile
import yaml
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

import espnet_ottc.espnet.register  # noqa: F401
from espnet_ottc.bin import asr_inference, asr_train

RATE = 16000
PITCHES = {"A": 400.0, "B": 900.0, "C": 1700.0, "D": 2900.0}
TOKENS = ["<blank>", "<unk>", "<space>", *PITCHES, "<sos/eos>"]
ENCODER = {"channels": 32, "dilations": [1, 2], "output_dilations": [1], "dropout": 0.0}
CONFIG = {
    "encoder": "dilated_conv",
    "encoder_conf": ENCODER,
    "frontend_conf": {"n_fft": 512, "hop_length": 160, "n_mels": 40},
    "model_conf": {"ctc_weight": 1.0},
    "token_type": "char",
    "batch_type": "unsorted",
    "batch_size": 8,
    "max_epoch": 10,
    "optim": "adamw",
    "optim_conf": {"lr": 0.01},
    "num_workers": 0,
    "use_matplotlib": False,
    "num_att_plot": 0,
    "keep_nbest_models": 1,
    "seed": 3,
}
HYBRID = {
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 32, "num_blocks": 1},
}


@dataclass(frozen=True)
class Tones:
    """A data directory: `cuts.jsonl.gz` with all cuts in one recording, `text`, `tokens.txt`."""

    directory: Path
    texts: dict[str, str]

    @property
    def cuts(self) -> Path:
        return self.directory / "cuts.jsonl.gz"


def write_tones(directory: Path, count: int, seed: int) -> Tones:
    rng = np.random.default_rng(seed)
    pieces, cuts, texts, start = [], [], {}, 0
    recording_id = f"tones-{seed}"
    for number in range(count):
        words = ["".join(rng.choice(list(PITCHES), rng.integers(1, 4))) for _ in range(2)]
        samples = _speak(words, rng)
        utterance = f"utt{seed}-{number:02d}"
        texts[utterance] = " ".join(words)
        cuts.append((utterance, start, len(samples)))
        pieces.append(samples)
        start += len(samples)
    directory.mkdir(parents=True)
    audio = directory / "audio.flac"
    soundfile.write(audio, np.concatenate(pieces), RATE)
    recording = Recording.from_file(audio, recording_id=recording_id)
    CutSet.from_cuts(
        MonoCut(
            id=utterance,
            start=first / RATE,
            duration=length / RATE,
            channel=0,
            recording=recording,
            supervisions=[
                SupervisionSegment(
                    utterance, recording_id, 0.0, length / RATE, text=texts[utterance]
                )
            ],
        )
        for utterance, first, length in cuts
    ).to_file(directory / "cuts.jsonl.gz")
    lines = "".join(f"{utterance} {text}\n" for utterance, text in texts.items())
    (directory / "text").write_text(lines)
    (directory / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    return Tones(directory, texts)


def _speak(words: list[str], rng: np.random.Generator) -> np.ndarray:
    pieces = [_pause(rng)]
    for word in words:
        for letter in word:
            time = np.arange(int(rng.uniform(0.08, 0.12) * RATE)) / RATE
            pieces.append(0.3 * np.sin(2 * np.pi * PITCHES[letter] * time))
            pieces.append(np.zeros(int(0.03 * RATE)))
        pieces.append(_pause(rng))
    samples = np.concatenate(pieces)
    return samples + 0.003 * rng.standard_normal(len(samples))


def _pause(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(int(rng.uniform(0.1, 0.2) * RATE))


class Lab:
    """Trains in folders of its own, on tones."""

    def __init__(self, folder: Path, train_tones: Tones, valid_tones: Tones) -> None:
        self.folder = folder
        self.valid = valid_tones
        self.data = {"train": train_tones, "valid": valid_tones}
        self.train("stats", "--collect_stats", "true")

    def train(self, name: str, *options: str, **config: Any) -> Path:
        asr_train.main(self.command(name, *options, **config))
        return self.folder / name

    def command(self, name: str, *options: str, **config: Any) -> list[str]:
        """Arguments that train an experiment of this name."""
        path = self.folder / f"{name}.yaml"
        config = {**CONFIG, **config}
        if config.get("ctc_conf", {}).get("ctc_type") == "ottc":
            # Tests of other things need not wait for it.
            config["model_conf"] = {"boundary_head": False, **config["model_conf"]}
        path.write_text(yaml.safe_dump(config))
        command = ["--config", str(path), "--output_dir", str(self.folder / name)]
        command += ["--token_list", str(self.valid.directory / "tokens.txt")]
        for part, tones in self.data.items():
            for stream in (f"{tones.cuts},speech,lhotse", f"{tones.directory}/text,text,text"):
                command += [f"--{part}_data_path_and_name_and_type", stream]
            if name != "stats":
                shapes = self.folder / "stats" / part / "speech_shape"
                command += [f"--{part}_shape_file", str(shapes)]
        return [*command, *options]

    def decode(self, experiment: Path, name: str, *options: str) -> dict[str, str]:
        out = self.folder / name
        command = ["--asr_train_config", str(experiment / "config.yaml")]
        command += ["--asr_model_file", str(experiment / "valid.loss.ave.pth")]
        command += ["--data_path_and_name_and_type", f"{self.valid.cuts},speech,lhotse"]
        command += ["--output_dir", str(out), "--num_workers", "0", *options]
        asr_inference.main(command)
        lines = (out / "1best_recog" / "text").read_text().splitlines()
        return {line.split(maxsplit=1)[0]: line.partition(" ")[2] for line in lines}


def cut_of(path: Path, samples: np.ndarray, text: str) -> MonoCut:
    """A cut of samples, which are written to a file."""
    soundfile.write(path, samples, RATE)
    recording = Recording.from_file(path)
    duration = recording.duration
    supervision = SupervisionSegment(path.stem, recording.id, 0.0, duration, text=text)
    return MonoCut(path.stem, 0.0, duration, 0, recording=recording, supervisions=[supervision])
