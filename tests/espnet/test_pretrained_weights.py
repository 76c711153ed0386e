"""Where pretrained weights come from, and what is said when they do not come."""

import urllib.error

import pytest
import torch
import torchaudio
from torchaudio.pipelines._wav2vec2 import utils
from wav2vec2_lab import BUNDLE, LARGE, tiny_bundle, tiny_encoder

from espnet_ottc.alignment.hub import weights_url
from espnet_ottc.espnet.encoders import pretrained
from espnet_ottc.espnet.encoders.wav2vec2 import TorchaudioWav2Vec2Encoder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A torch hub folder without network, and a small model in the place of a large one."""
    monkeypatch.setattr(torchaudio.pipelines, BUNDLE, tiny_bundle())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(url, dst, **_):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    return tmp_path / "checkpoints"


def _weights(**changes):
    state = tiny_encoder({**LARGE, **changes}).model.state_dict()
    return {name: torch.full_like(value, 0.5) for name, value in state.items()}


def _save(path, state):
    path.parent.mkdir(exist_ok=True)
    torch.save(state, path)
    return str(path)


def _are_loaded(encoder):
    return all((value == 0.5).all() for value in encoder.model.state_dict().values())


def test_addresses_are_those_that_torchaudio_downloads_from(monkeypatch):
    asked = []

    def ask(url, **_):
        asked.append(url)
        raise InterruptedError

    monkeypatch.setattr(utils, "load_state_dict_from_url", ask)
    bundles = pretrained.bundles()
    assert {"WAV2VEC2_XLSR_300M", BUNDLE, "WAVLM_LARGE", "HUBERT_LARGE"} <= bundles.keys()
    for bundle in bundles.values():
        with pytest.raises(InterruptedError):
            bundle._get_state_dict(None)
    assert [weights_url(bundle._path) for bundle in bundles.values()] == asked


@pytest.mark.parametrize("name", sorted(pretrained.bundles()))
def test_every_bundle_builds_with_the_parameters_that_its_weights_have(name):
    bundle = pretrained.bundles()[name]
    with torch.device("meta"):
        encoder = TorchaudioWav2Vec2Encoder(1, bundle=name)
        expected = utils._get_model(bundle._model_type, bundle._params).state_dict()
    state = encoder.model.state_dict()
    assert {n: v.shape for n, v in state.items()} == {
        n: v.shape for n, v in expected.items() if not n.startswith("aux.")
    }
    assert encoder.output_size() == bundle._params["encoder_embed_dim"]
    assert encoder.normalize_waveform is bundle._normalize_waveform
    assert (encoder.receptive_field, encoder.hop) == (400, 320)


def test_building_needs_no_weights_and_a_failed_download_says_what_to_put_where(hub):
    encoder = TorchaudioWav2Vec2Encoder(1, bundle=BUNDLE)
    with pytest.raises(FileNotFoundError) as error:
        encoder.load_weights()
    for part in (
        "https://download.pytorch.org/torchaudio/models/tiny.pth",
        str(hub / "tiny.pth"),
        "no network",
        "weights: FILE",
    ):
        assert part in str(error.value)


def test_a_bundles_weights_are_taken_from_where_they_were_put(hub):
    _save(hub / "tiny.pth", _weights())
    encoder = TorchaudioWav2Vec2Encoder(1, bundle=BUNDLE)
    assert not _are_loaded(encoder)
    encoder.load_weights()
    assert _are_loaded(encoder)


@pytest.mark.parametrize(
    "change",
    [
        dict,
        lambda state: {f"model.{name}": value for name, value in state.items()},
        lambda state: {**state, "aux.weight": torch.zeros(3, 32), "aux.bias": torch.zeros(3)},
        # The files of torchaudio's bundles are older than torch's parametrizations.
        lambda state: {
            name.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): value
            for name, value in state.items()
        },
    ],
    ids=["plain", "wrapped", "with a head", "older names"],
)
def test_a_local_file_is_loaded(tmp_path, hub, change):
    path = _save(tmp_path / "local.pth", change(_weights()))
    for options in ({"bundle": BUNDLE}, {"model_conf": LARGE}):
        encoder = TorchaudioWav2Vec2Encoder(1, weights=path, **options)
        encoder.load_weights()
        assert _are_loaded(encoder)


def test_weights_that_do_not_fit_are_named(tmp_path):
    def load(state):
        encoder = tiny_encoder(weights=_save(tmp_path / "bad.pth", state))
        encoder.load_weights()

    shorter = _weights(encoder_num_layers=2)
    with pytest.raises(ValueError, match=r"bad.pth.* missing: .*layers\.2\..* more, unknown: none"):
        load(shorter)
    with pytest.raises(ValueError, match=r"missing: none, unknown: .*layers\.3\."):
        load(_weights(encoder_num_layers=4))
    with pytest.raises(ValueError, match=r"(?s)size mismatch for .*intermediate_dense\.weight"):
        load(_weights(encoder_ff_interm_features=40))
    with pytest.raises(ValueError, match=r"must be a state dict .* got a mapping with model, cfg"):
        load({"model": {}, "cfg": 1})


def test_a_file_that_is_none_of_torchs_or_not_there_is_named(tmp_path):
    path = tmp_path / "text.pth"
    path.write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"text.pth: .*; weights must be a state dict"):
        tiny_encoder(weights=str(path)).load_weights()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone.pth"):
        tiny_encoder(weights=str(tmp_path / "gone.pth")).load_weights()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"encoder.a", "encoder.b", "ctc.a"}),
        (":encoder:encoder", {"encoder.a", "encoder.b"}),
        (":encoder:encoder.model", {"encoder.model.a", "encoder.model.b"}),
        (":::encoder.b,ctc", {"encoder.a"}),
    ],
)
def test_parameters_of_init_param_are_known_without_reading_them(tmp_path, words, expected):
    names = ["encoder.a", "encoder.b", "ctc.a"]
    path = _save(tmp_path / "x.pth", {name: torch.zeros(2) for name in names})
    assert pretrained.parameters_in(path + words) == expected
