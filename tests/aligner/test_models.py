"""Models of torchaudio and transformers, tiny and random: numbers of the packages' own forward pass."""

import copy
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from espnet_ottc.aligner import Aligner
from espnet_ottc.aligner.models import load_model
from espnet_ottc.aligner.models.registry import check_device
from espnet_ottc.alignment.windows import frame_outputs

pytest.importorskip("torchaudio")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torchaudio.pipelines as pipelines
    from torchaudio.pipelines._wav2vec2 import utils as bundles

pytestmark = pytest.mark.filterwarnings(
    "ignore:::torch", "ignore:::torchaudio", "ignore:::transformers"
)

SMALL = {
    "encoder_embed_dim": 16,
    "encoder_num_layers": 1,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 16,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 2,
    "extractor_conv_layer_config": [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
}
BUNDLES = [key for key in dir(pipelines) if key.isupper()]
BUNDLES = [key for key in BUNDLES if hasattr(getattr(pipelines, key), "get_labels")]
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "num_feat_extract_layers": 7,
}


def _samples(seconds: float = 1.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return 0.1 * torch.randn(int(16000 * seconds), generator=generator) + 0.02


@pytest.fixture
def small_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Makes a bundle's model tiny, writes random parameters, and gives its forward pass and their file."""

    def make(name: str) -> tuple[Any, Path]:
        torch.manual_seed(1)
        bundle = copy.copy(getattr(pipelines, name))
        object.__setattr__(bundle, "_params", {**bundle._params, **SMALL})
        monkeypatch.setattr(pipelines, name, bundle)
        model = bundles._get_model(bundle._model_type, bundle._params).eval()
        state = model.state_dict()
        path = tmp_path / f"{name}.pt"
        # As they are published: with rows that no label has.
        unused = sorted(bundle._remove_aux_axis)
        published = dict(state)
        for key in ("aux.weight", "aux.bias"):
            rows = list(state[key])
            for row in unused:
                rows.insert(row, torch.full_like(rows[0], 9.0))
            published[key] = torch.stack(rows)
        torch.save(published, path)
        own = bundles._extend_model(model, normalize_waveform=bundle._normalize_waveform)
        return own, path

    return make


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_torchaudio_gives_its_own_numbers(name: str, small_bundle: Any) -> None:
    own, path = small_bundle(name)
    model = load_model(f"torchaudio:{name}", weights=path)
    samples = _samples()
    with torch.no_grad():
        expected = own(samples[None])[0][0].log_softmax(1)
    found = model.outputs([model.prepare(samples)])[0].log_probs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.shape[1] == len(model.tokens)
    assert (model.stride, model.least_samples) == (320, 400)
    # A frame is centred on what it hears.
    assert model.grid.seconds(0.5) == pytest.approx(200 / 16000)


def _same_together_and_alone(model: Any) -> None:
    recordings = [_samples(seconds) for seconds in (1.5, 0.9, 1.2)] + [_samples(1.5).flip(0)]
    alone = [frame_outputs(model, [samples])[0].log_probs for samples in recordings]
    passes: list[list[int]] = []
    run = model.outputs

    def watched(stretches: Any) -> Any:
        passes.append([len(one) for one in stretches])
        return run(stretches)

    model.outputs = watched
    found = frame_outputs(model, recordings)
    for one, expected in zip(found, alone, strict=True):
        torch.testing.assert_close(one.log_probs, expected, atol=1e-5, rtol=1e-4)
    sizes = [24000, 24000, 19200, 14400]
    assert passes == ([sizes] if model.pads else [sizes[:2], [19200], [14400]])


@pytest.mark.parametrize("name", ["MMS_FA", "HUBERT_ASR_LARGE", "WAV2VEC2_ASR_BASE_960H"])
def test_recordings_together_give_what_each_gives_alone(name: str, small_bundle: Any) -> None:
    _, path = small_bundle(name)
    model = load_model(f"torchaudio:{name}", weights=path)
    assert model.pads == (name != "WAV2VEC2_ASR_BASE_960H")
    _same_together_and_alone(model)


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
@pytest.mark.parametrize("norm", ["layer", "group"])
def test_recordings_of_transformers_together_give_what_each_gives_alone(
    kind: str, norm: str, saved: Any
) -> None:
    _, folder = saved(
        kind, norm == "layer", feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"
    )
    model = load_model(str(folder))
    assert model.pads == (norm == "layer")
    _same_together_and_alone(model)


def test_mms_fa_reads_other_scripts_by_their_romanisation_and_keeps_their_words(
    small_bundle: Any,
) -> None:
    pytest.importorskip("uroman")
    _, path = small_bundle("MMS_FA")
    aligner = Aligner.from_pretrained("torchaudio:MMS_FA", weights=path)
    found = aligner.align(_samples(3.0), "Привет, 12 мир!", sampling_rate=16000)
    assert [word.text for word in found.words] == ["Привет,", "12", "мир!"]
    assert [word.spoken for word in found.words] == ["privet", "twelve", "mir"]
    edges = [edge for word in found.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert found.search == "ctc"


def test_parameters_that_are_missing_are_asked_for_by_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError, match=rf"put it at {tmp_path}/hub/checkpoints/model\.pt"):
        load_model("torchaudio:MMS_FA")


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def _write_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Harmful()))


def _write_saved(path: Path) -> None:
    torch.save({"a": _Harmful()}, path)


def _write_script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))


HARMFUL = [_write_pickle, _write_saved, _write_script]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", HARMFUL)
def test_parameters_of_transformers_that_run_code_are_refused_without_advice_to_run_it(
    write: Callable[[Path], None], saved: Any
) -> None:
    _, folder = saved("Wav2Vec2")
    (folder / "model.safetensors").unlink()
    write(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="must be tensors alone") as refused:
        load_model(str(folder))
    assert "weights_only" not in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_folder_without_a_tokenizer_says_so(saved: Any) -> None:
    _, folder = saved("Wav2Vec2")
    for name in ("vocab.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold .*the tokenizer's files are not there"):
        load_model(str(folder))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", HARMFUL)
def test_parameters_that_run_code_are_refused(
    write: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "harm.pt"
    write(path)
    with pytest.raises(ValueError, match="tensors alone") as refused:
        load_model("torchaudio:MMS_FA", weights=path)
    assert "run" not in capsys.readouterr().out
    # PyTorch would have it run, in bold type.
    assert "weights_only" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("torchaudio:WAV2VEC2_BASE", ValueError, "the bundle must be one with CTC: .*MMS_FA"),
        ("torchaudio:", ValueError, "needs a name after the colon"),
        ("nemo:QuartzNet", ValueError, "the source must be one of espnet, torchaudio, hf"),
        ("exp/absent", FileNotFoundError, "there is no exp/absent"),
    ],
)
def test_names_that_are_no_model_are_refused(
    name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        load_model(name)


def test_a_folder_without_a_model_is_told_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a model's folder is the output of a training"):
        load_model(str(tmp_path))


def test_devices_that_are_not_there_are_refused() -> None:
    check_device("cpu")
    with pytest.raises(ValueError, match="must be cpu, cuda or cuda:N"):
        check_device("gpu")
    with pytest.raises(ValueError, match="--device cuda:77: PyTorch"):
        check_device("cuda:77")


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Writes a tiny random model of transformers with its tokenizer to a folder; gives both."""
    transformers = pytest.importorskip("transformers")

    def make(kind: str, normalise: bool = True, **options: Any) -> tuple[Any, Path]:
        torch.manual_seed(2)
        folder = tmp_path / kind
        folder.mkdir()
        letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEHLORW'"]
        vocabulary = {letter: i for i, letter in enumerate(letters)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
        tokenizer.save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
        config = getattr(transformers, f"{kind}Config")(
            **{**TINY, "vocab_size": len(letters), "pad_token_id": 0, **options}
        )
        model = getattr(transformers, f"{kind}ForCTC")(config).eval()
        model.save_pretrained(folder)
        return model, folder

    return make


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "WavLM"])
@pytest.mark.parametrize("normalise", [True, False])
def test_a_model_of_transformers_gives_its_own_numbers(
    kind: str, normalise: bool, saved: Any
) -> None:
    import transformers

    own, folder = saved(kind, normalise)
    model = load_model(str(folder))
    samples = _samples()
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    values = extractor(samples.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = own(values).logits[0].log_softmax(1)
    found = model.outputs([model.prepare(samples)])[0].log_probs
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert model.blank == 0
    assert model.separator == 4
    assert model.encode("HELLO") == [10, 9, 11, 11, 12]
    words = Aligner(model).align(samples.numpy(), "Hello, world", sampling_rate=16000).words
    assert [word.text for word in words] == ["Hello,", "world"]
    assert [word.spoken for word in words] == ["HELLO", "WORLD"]


def test_a_model_without_a_trained_last_layer_is_refused(saved: Any) -> None:
    import transformers

    own, folder = saved("Wav2Vec2")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    bare = transformers.Wav2Vec2Model(own.config)
    bare.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"not trained with CTC.*lm_head"):
        load_model(f"hf:{folder}")


def test_a_name_that_the_hub_does_not_give_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"hf download nobody/nothing"):
        load_model("hf:nobody/nothing")


def test_without_a_network_a_model_is_refused_by_the_first_question(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    import huggingface_hub

    asked = []

    def unreachable(*names: Any, **options: Any) -> None:
        asked.append(options["timeout"])
        raise RuntimeError("Name or service not known")  # as those of HTTP clients, no OSError

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", lambda *_: pytest.fail("asks"))
    with pytest.raises(
        FileNotFoundError, match=r"hf download no/thing .*Name or service not known"
    ):
        load_model("hf:no/thing")
    assert len(asked) == 1
    assert asked[0] <= 10


def test_a_model_in_the_hubs_cache_is_loaded_without_asking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, saved: Any
) -> None:
    own, folder = saved("Hubert")
    import huggingface_hub

    place = tmp_path / "cache" / "models--me--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("a" * 40)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / ("a" * 40))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: pytest.fail("asks"))
    model = load_model("hf:me/tiny", language="de")
    assert model.name == "hf:me/tiny"
    assert len(model.tokens) == own.config.vocab_size


def test_a_folder_that_holds_no_model_says_what_it_must_hold(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(FileNotFoundError, match=r"must hold config\.json, .* model\.safetensors"):
        load_model(f"hf:{tmp_path}")


def test_an_adapter_of_mms_is_chosen_by_its_language(saved: Any) -> None:
    import transformers
    from safetensors.torch import save_file

    own, folder = saved(
        "Wav2Vec2", do_stable_layer_norm=True, feat_extract_norm="layer", adapter_attn_dim=4
    )
    letters = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "ä": 5, "h": 6}
    (folder / "vocab.json").write_text(json.dumps({"deu": letters, "eng": {**letters, "a": 5}}))
    transformers.Wav2Vec2CTCTokenizer(
        str(folder / "vocab.json"), target_lang="eng"
    ).save_pretrained(folder)
    torch.manual_seed(3)
    adapter = {
        name: torch.randn_like(value)
        for name, value in own._get_adapters().items()
        if not name.startswith("lm_head")
    }
    adapter["lm_head.weight"], adapter["lm_head.bias"] = torch.randn(7, 16), torch.randn(7)
    save_file(adapter, folder / "adapter.deu.safetensors")
    model = load_model(str(folder), language="deu")
    reference = transformers.Wav2Vec2ForCTC.from_pretrained(
        folder, target_lang="deu", ignore_mismatched_sizes=True
    ).eval()
    samples = _samples()
    with torch.no_grad():
        expected = reference(model.prepare(samples)[None]).logits[0].log_softmax(1)
    found = model.outputs([model.prepare(samples)])[0].log_probs
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert model.encode("häh") == [6, 5, 6]


def test_samples_need_their_rate(saved: Any) -> None:
    _, folder = saved("Wav2Vec2")
    with pytest.raises(ValueError, match="sampling_rate"):
        Aligner.from_pretrained(str(folder)).align(np.zeros(16000), "A")
