"""Bundles of `torchaudio.pipelines`: wav2vec 2.0 and HuBERT with CTC, and MMS_FA for alignment."""

import functools
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from espnet_ottc.aligner.models.interface import SpeechModel
from espnet_ottc.aligner.models.parameters import load_tensors
from espnet_ottc.aligner.recognition import ctc_labels
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.convolutions import Stride
from espnet_ottc.alignment.hub import cached_weights
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameOutputs
from espnet_ottc.ops.viterbi_decoding import check_decoder
from espnet_ottc.utils.extras import require_extra

_SEPARATOR = "|"


class TorchaudioModel:
    """A bundle with its parameters; see `SpeechModel` for the attributes."""

    token_type = "char"
    topology = "ctc"
    boundary_model: BoundaryModel | None = None
    blank = 0
    unknown: int | None = None
    boundary: int | None = None
    null: int | None = None

    def __init__(self, name: str, bundle: Any, model: nn.Module, device: str) -> None:
        self.name = name
        self.sampling_rate = int(bundle.sample_rate)
        self._normalise = bool(bundle._normalize_waveform)
        self._stride = Stride.of(
            (kernel, step) for _, kernel, step in bundle._params["extractor_conv_layer_config"]
        )
        self.stride, self.least_samples = self._stride.samples, self._stride.field
        self.grid = self._stride.grid(self.sampling_rate)
        # The alignment bundle has a label more, for anything, which its model adds and we do not ask for.
        alignment = type(bundle).__name__ == "Wav2Vec2FABundle"
        self.tokens: tuple[str, ...] = tuple(
            bundle.get_labels(star=None) if alignment else bundle.get_labels()
        )
        self._ids = {token: i for i, token in enumerate(self.tokens) if i != self.blank}
        self.separator = self._ids.get(_SEPARATOR)
        letters = (token for token in self._ids if token != _SEPARATOR)
        self.alphabet = Alphabet(frozenset(letters))
        self.romanize: Callable[[str], str] | None = _uroman if alignment else None
        self._model = model.to(device).eval()
        self.device = torch.device(device)
        # The group norm of the base models would hear padding; others mask it.
        self.pads = bundle._params["extractor_mode"] == "layer_norm"

    def prepare(self, samples: Tensor) -> Tensor:
        """Zero mean and unit variance over the recording, where the bundle was trained so."""
        return nn.functional.layer_norm(samples, samples.shape) if self._normalise else samples

    @torch.inference_mode()
    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        """Together, behind a mask where their lengths differ."""
        counts = [len(one) for one in stretches]
        batch = pad_sequence(list(stretches), True).to(self.device)
        lengths = torch.tensor(counts, device=self.device) if len(set(counts)) > 1 else None
        logits = self._model(batch, lengths)[0]
        return [
            FrameOutputs(logits[b, : self._stride.frames(count)].float().log_softmax(1).cpu())
            for b, count in enumerate(counts)
        ]

    def encode(self, word: str) -> list[int]:
        """A token for each letter."""
        return [self._ids[letter] for letter in word]

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        """Letters in a row, `|` as a space."""
        check_decoder(decoder)
        letters = (self.tokens[i] for i in ctc_labels(outputs.log_probs, self.blank))
        return " ".join("".join(letters).replace(_SEPARATOR, " ").split())


def load(
    bundle_name: str, *, name: str, device: str, language: str | None, weights: Path | None
) -> SpeechModel:
    """See `load_model`; `language` is for models with adapters and has no meaning here."""
    pipelines = _pipelines()
    names = (key for key in dir(pipelines) if key.isupper())
    known = [key for key in names if hasattr(getattr(pipelines, key), "get_labels")]
    if bundle_name not in known:
        raise ValueError(
            f"--model {name}: the bundle must be one with CTC: {', '.join(known)}; got {bundle_name!r}"
        )
    bundle = getattr(pipelines, bundle_name)
    state = load_tensors(_weights(bundle, name) if weights is None else weights)
    _without_unused(bundle, state)
    factory = pipelines._wav2vec2.utils._get_model
    model = factory(bundle._model_type, bundle._params)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise ValueError(f"{weights}: these are not the parameters of {name}: {first}") from error
    return TorchaudioModel(name, bundle, model, device)


def _pipelines() -> types.ModuleType:
    require_extra("models", "a model of torchaudio", ("torchaudio",))
    try:
        import torchaudio.pipelines
    except (ImportError, OSError) as error:
        raise ImportError(
            "a model of torchaudio needs the torchaudio that goes with PyTorch "
            f"{torch.__version__}: {str(error).splitlines()[0]}"
        ) from error
    pipelines: types.ModuleType = torchaudio.pipelines
    return pipelines


def _weights(bundle: Any, name: str) -> Path:
    """The bundle's file in the cache of `torch.hub`, downloaded where it is missing."""
    # MMS_FA's file is called model.pt, as others are: torchaudio takes it from the same place.
    return cached_weights(str(bundle._path), f"--model {name}", "give it by --weights")


def _without_unused(bundle: Any, state: dict[str, Tensor]) -> None:
    """Leave out the rows of the last layer that the bundle's labels do not have, as torchaudio does."""
    rows = state.get("aux.weight")
    unused = bundle._remove_aux_axis
    if rows is None or len(rows) == bundle._params["aux_num_out"]:
        return
    kept = [row for row in range(len(rows)) if row not in unused]
    for key in ("aux.weight", "aux.bias"):
        state[key] = state[key][kept]


@functools.cache
def _romaniser() -> Any:
    require_extra("models", "romanising for MMS_FA", ("uroman",))
    import uroman

    return uroman.Uroman()


def _uroman(word: str) -> str:
    """A word in Latin letters; MMS_FA was trained on texts that uroman romanised."""
    return str(_romaniser().romanize_string(word))
