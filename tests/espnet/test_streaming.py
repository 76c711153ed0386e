"""Streaming: a contextual block encoder with OTTC, decoded while the recording goes on."""

import numpy as np
import pytest
import soundfile
import torch
from espnet_lab import CONFIG, Lab, write_tones

from espnet_ottc.bin import asr_inference_streaming
from espnet_ottc.espnet.decoding.streaming import OTTCSpeech2TextStreaming
from espnet_ottc.espnet.trained_model import TrainedModel

ENCODER = {
    "encoder": "contextual_block_conformer",
    "encoder_conf": {
        "output_size": 48, "attention_heads": 2, "linear_units": 64, "num_blocks": 1,
        "input_layer": "conv2d", "block_size": 16, "hop_size": 8, "look_ahead": 4,
        "use_cnn_module": True, "cnn_module_kernel": 7, "dropout_rate": 0.0,
    },
    "normalize": None,
    "max_epoch": 8,
    "frontend_conf": {"n_fft": 512, "hop_length": 80, "n_mels": 40},
    "optim_conf": {"lr": 0.003},
}  # fmt: skip
SPACE = "<space>"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streaming")
    lab = Lab(folder, write_tones(folder / "train", 48, 1), write_tones(folder / "valid", 6, 2))
    ottc = {"ctc_type": "ottc", "boundary_label": SPACE, "flat_start_epochs": 4}
    lab.train("ottc", **{**CONFIG, **ENCODER, "ctc_conf": ottc})
    return lab


def recogniser(lab) -> OTTCSpeech2TextStreaming:
    directory = lab.folder / "ottc"
    return OTTCSpeech2TextStreaming(
        directory / "config.yaml", directory / "valid.loss.ave.pth", ctc_weight=1.0
    )


def recording(lab) -> np.ndarray:
    return soundfile.read(lab.valid.directory / "audio.flac", dtype="float32")[0][: 16000 * 4]


def test_the_last_hypothesis_does_not_depend_on_how_the_recording_came(model):
    samples, found = recording(model), recogniser(model)
    whole = found(samples, is_final=True)[0]
    assert len(whole[1]) > 3
    for size in (3200, 8000):
        starts = range(0, len(samples), size)
        results = [
            found(samples[start : start + size], is_final=start == starts[-1]) for start in starts
        ]
        assert results[-1][0][:3] == whole[:3]
        grown = [len(result[0][1]) for result in results if result]
        assert 0 < grown[len(grown) // 2] < grown[-1]  # there are words before the end


def test_weights_of_what_was_heard_keep_their_ratios(model):
    trained = TrainedModel(model.folder / "ottc")
    speech = torch.from_numpy(recording(model))[None]
    with torch.no_grad():
        encoded, frames = trained.model.encode(speech, torch.tensor([speech.shape[1]]))
        alpha = trained.criterion.alpha(encoded, frames)[0]
        half = encoded.shape[1] // 2
        whole = alpha[:half] / alpha[:half].sum()
        heard = trained.criterion.alpha(encoded[:, :half], torch.tensor([half]))[0]
    torch.testing.assert_close(heard, whole)


def test_the_command_writes_what_the_class_finds(model, tmp_path):
    directory, out = model.folder / "ottc", tmp_path / "decoded"
    data = f"{model.valid.cuts},speech,lhotse"
    command = ["--asr_train_config", str(directory / "config.yaml")]
    command += ["--asr_model_file", str(directory / "valid.loss.ave.pth")]
    command += ["--data_path_and_name_and_type", data, "--num_workers", "0"]
    command += ["--ctc_weight", "1.0", "--sim_chunk_length", "8000", "--output_dir", str(out)]
    asr_inference_streaming.main(command)
    texts = dict(
        line.partition(" ")[::2] for line in (out / "1best_recog" / "text").read_text().splitlines()
    )
    assert set(texts) == set(model.valid.texts)
    assert any(texts.values())


def test_ctc_keeps_the_search_of_espnet(model):
    model.train("ctc", **{**CONFIG, **ENCODER, "max_epoch": 1})
    directory = model.folder / "ctc"
    found = OTTCSpeech2TextStreaming(
        directory / "config.yaml", directory / "valid.loss.ave.pth", ctc_weight=1.0
    )
    assert type(found.beam_search).__name__ == "BatchBeamSearchOnline"
