"""CTC models of `transformers`: wav2vec 2.0, HuBERT, WavLM, MMS with its adapters, and others alike."""

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from espnet_ottc.aligner.models.interface import SpeechModel
from espnet_ottc.aligner.models.parameters import load_tensors
from espnet_ottc.aligner.recognition import ctc_labels
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.convolutions import Stride
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameOutputs
from espnet_ottc.ops.validation import valid_mask
from espnet_ottc.ops.viterbi_decoding import check_decoder
from espnet_ottc.utils.commands import quiet_imports
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.faults import pytorchs_reason

# What `Wav2Vec2FeatureExtractor` adds to the variance.
_VARIANCE_FLOOR = 1e-7
# Seconds that the hub has for its answer.
_HUB_TIMEOUT = 10.0
# What transformers raises where a file is missing or cut off.
_INCOMPLETE = (OSError, KeyError, json.JSONDecodeError)


class TransformersModel:
    """A model with its tokenizer and feature extractor; see `SpeechModel` for the attributes."""

    token_type = "char"
    topology = "ctc"
    boundary_model: BoundaryModel | None = None
    boundary: int | None = None
    null: int | None = None

    def __init__(self, name: str, model: Any, tokenizer: Any, extractor: Any, device: str) -> None:
        self.name = name
        self.sampling_rate = int(extractor.sampling_rate)
        config = model.config
        self._stride = Stride.of(zip(config.conv_kernel, config.conv_stride, strict=True))
        self.stride, self.least_samples = self._stride.samples, self._stride.field
        self.grid = self._stride.grid(self.sampling_rate)
        vocabulary = tokenizer.get_vocab()
        symbols = [""] * config.vocab_size
        for token, i in vocabulary.items():
            if i < len(symbols):
                symbols[i] = token
        self.tokens = tuple(symbols)
        self.blank = int(config.pad_token_id)
        self.unknown = _id(tokenizer.unk_token_id, len(symbols))
        delimiter = getattr(tokenizer, "word_delimiter_token", None)
        self.separator = _id(vocabulary.get(delimiter), len(symbols))
        special = {*tokenizer.all_special_tokens, delimiter}
        letters = (token for token in self.tokens if len(token) == 1 and token not in special)
        self.alphabet = Alphabet(frozenset(letters))
        self.romanize: Callable[[str], str] | None = None
        self._normalise = bool(getattr(extractor, "do_normalize", False))
        self._tokenizer = tokenizer
        self._model = model.to(device).eval()
        self.device = torch.device(device)
        # The group norm of the base models would hear padding; others mask it.
        self.pads = config.feat_extract_norm == "layer"

    def prepare(self, samples: Tensor) -> Tensor:
        """Zero mean and unit variance over the recording, where the model was trained so."""
        if not self._normalise:
            return samples
        variance = samples.var(unbiased=False)
        return (samples - samples.mean()) / (variance + _VARIANCE_FLOOR).sqrt()

    @torch.inference_mode()
    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        """Together, behind a mask where their lengths differ."""
        lengths = torch.tensor([len(one) for one in stretches])
        batch = pad_sequence(list(stretches), True).to(self.device)
        mask = None
        if len(set(lengths.tolist())) > 1:
            mask = valid_mask(lengths, batch.shape[1]).long().to(self.device)
        logits = self._model(batch, attention_mask=mask).logits
        return [
            FrameOutputs(logits[b, : self._stride.frames(count)].float().log_softmax(1).cpu())
            for b, count in enumerate(lengths.tolist())
        ]

    def encode(self, word: str) -> list[int]:
        """By the model's own tokenizer."""
        ids = self._tokenizer(word, add_special_tokens=False).input_ids
        return [int(i) for i in ids if i != self.separator]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        """By the model's own tokenizer."""
        check_decoder(decoder)
        labels = ctc_labels(outputs.log_probs, self.blank)
        text = self._tokenizer.decode(labels, group_tokens=False, skip_special_tokens=True)
        return " ".join(str(text).split())


def load(
    place: str, *, name: str, device: str, language: str | None, weights: Path | None
) -> SpeechModel:
    """See `load_model`; `place` is a folder or a name on the hub."""
    require_extra("models", "a model of transformers", ("transformers",))
    with quiet_imports():
        import transformers
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    adapters = {} if language is None else {"target_lang": language}
    folder = Path(place)
    if not folder.is_dir():
        cached = _cached(place)
        if cached is not None:
            try:
                return _read(cached, name, device, adapters, weights)
            except _INCOMPLETE:
                pass  # the cache has a part of it
        _ask_hub(place, name)
    elif not (folder / "config.json").is_file():
        raise FileNotFoundError(_absent(name, place, OSError("there is no config.json")))
    try:
        return _read(place, name, device, adapters, weights)
    except _INCOMPLETE as error:
        raise FileNotFoundError(_absent(name, place, error)) from error


def _cached(place: str) -> str | None:
    """The folder of the hub's cache that holds a model, perhaps not all of it; None where there is none."""
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(place, local_files_only=True))
    except (OSError, ValueError):
        return None


def _ask_hub(place: str, name: str) -> None:
    """Refuse a model that the hub does not give, at once: transformers would try again for half a minute.

    Raises:
        FileNotFoundError: there is no network, or no such model.
    """
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(place, timeout=_HUB_TIMEOUT)
    except (
        Exception
    ) as error:  # those of the hub's package and of its HTTP client, whichever it has
        raise FileNotFoundError(_absent(name, place, error)) from error


def _read(
    place: str, name: str, device: str, adapters: Mapping[str, str], weights: Path | None
) -> TransformersModel:
    """What lies in a folder, or under a name of the hub."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(place)
    if not hasattr(config, "conv_kernel"):
        raise ValueError(
            f"--model {name}: its encoder must be one over samples (wav2vec 2.0, HuBERT, WavLM, ...), "
            f"got {config.model_type}"
        )
    if not getattr(config, "adapter_attn_dim", None):
        adapters = {}  # the language is that of the text alone
    extractor = transformers.AutoFeatureExtractor.from_pretrained(place)
    tokenizer = _tokenizer(place, adapters)
    if weights is not None:
        model = transformers.AutoModelForCTC.from_config(config)
        _load(model, weights)
    else:
        # Files of `torch.save` are read by transformers with weights_only, safetensors if they are there.
        try:
            model, report = transformers.AutoModelForCTC.from_pretrained(
                place,
                output_loading_info=True,
                **({**adapters, "ignore_mismatched_sizes": True} if adapters else {}),
            )
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            raise ValueError(
                f"--model {name}: its parameters must be tensors alone, and fit its config.json; PyTorch "
                f"says: {pytorchs_reason(error)}"
            ) from error
        _check_complete(name, report["missing_keys"], bool(adapters))
    return TransformersModel(name, model, tokenizer, extractor, device)


def _tokenizer(place: str, adapters: Mapping[str, str]) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(place, **adapters)
    except (TypeError, AttributeError) as error:  # so it opens a file whose name is None
        raise OSError("the tokenizer's files are not there, or are damaged") from error


def _check_complete(name: str, missing: Sequence[str], adapted: bool) -> None:
    """Refuse a model whose last layer would be random numbers, as one that was never trained with CTC."""
    # The adapter of a language brings the last layer.
    left = sorted(key for key in missing if not (adapted and key.startswith("lm_head")))
    # Not trained, and not used: where training masks its input.
    left = [key for key in left if not key.endswith("masked_spec_embed")]
    if left:
        raise ValueError(
            f"--model {name}: it was not trained with CTC, or is not whole: it lacks {', '.join(left[:3])}"
        )


def _load(model: Any, path: Path) -> None:
    missing, unknown = model.load_state_dict(load_tensors(path), strict=False)
    if missing or unknown:
        raise ValueError(
            f"{path}: these are not the parameters of the model; missing: {missing[:3]}, "
            f"unknown: {unknown[:3]}"
        )


def _absent(name: str, place: str, error: Exception) -> str:
    first = " ".join(str(error).split())[:200]
    if Path(place).is_dir():
        return (
            f"--model {name}: {place} must hold config.json, preprocessor_config.json, the tokenizer's "
            f"files and model.safetensors, as save_pretrained writes them; transformers says: {first}"
        )
    return (
        f"--model {name}: it is not in the hub's cache and cannot be downloaded; get its files elsewhere "
        f"(hf download {place} --local-dir FOLDER) and give --model hf:FOLDER; "
        f"the reason: {first}"
    )


def _id(value: Any, count: int) -> int | None:
    return int(value) if value is not None and int(value) < count else None
