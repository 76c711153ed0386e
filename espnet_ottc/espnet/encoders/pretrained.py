"""Architectures and weights of torchaudio's wav2vec2 family (wav2vec 2.0, XLS-R, HuBERT, WavLM)."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torchaudio
from torch import Tensor, nn
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2Bundle

from espnet_ottc.alignment.hub import cached_weights
from espnet_ottc.alignment.saved_tensors import load_tensors_alone
from espnet_ottc.espnet.checkpoints import load_parameters

# Which attention an architecture has shows in the names of its sizes: WavLM has relative positions.
_FACTORIES: dict[str, Callable[..., Wav2Vec2Model]] = {
    "Wav2Vec2": wav2vec2_model,
    "WavLM": wavlm_model,
}
_WAVLM_SIZES = {"encoder_num_buckets", "encoder_max_distance"}


def bundles() -> dict[str, Wav2Vec2Bundle]:
    """Torchaudio's pretrained models of this family by name."""
    found = {name: getattr(torchaudio.pipelines, name) for name in torchaudio.pipelines.__all__}
    return {name: one for name, one in found.items() if isinstance(one, Wav2Vec2Bundle)}


def find_bundle(name: str) -> Wav2Vec2Bundle:
    """The bundle of this name.

    Raises:
        ValueError: there is none.
    """
    known = bundles()
    if name not in known:
        raise ValueError(
            f"bundle must be one of torchaudio's wav2vec2 models{_nearest(name, known)}; "
            f"got {name!r}, there are {', '.join(known)}"
        )
    return known[name]


def build_model(bundle: str | None, sizes: Mapping[str, Any]) -> Wav2Vec2Model:
    """A model with random weights and without head.

    Args:
        bundle: name of a bundle, whose sizes are taken; None: all sizes are given.
        sizes: arguments of `torchaudio.models.wav2vec2_model`, or `wavlm_model` where they name its
            buckets; laid over the bundle's.

    Raises:
        ValueError: an unknown bundle; sizes that are unknown, or missing without a bundle.
    """
    if bundle is None:
        kind, own = "WavLM" if _WAVLM_SIZES & sizes.keys() else "Wav2Vec2", {}
    else:
        # torchaudio has no public way to a bundle's sizes that does not download its weights.
        found = find_bundle(bundle)
        kind, own = found._model_type, found._params
    factory = _FACTORIES[kind]
    names = [name for name in inspect.signature(factory).parameters if name != "aux_num_out"]
    for name in sizes:
        if name not in names:
            raise ValueError(
                f"model_conf takes the arguments of torchaudio's {factory.__name__}"
                f"{_nearest(name, names)}; got {name!r}, there are {', '.join(names)}"
            )
    merged = {**own, **sizes, "aux_num_out": None}
    missing = [name for name in names if name not in merged]
    if missing:
        raise ValueError(
            f"without a bundle model_conf must give every argument of torchaudio's "
            f"{factory.__name__}; missing: {', '.join(missing)}"
        )
    return factory(**merged)


def load_bundle(model: nn.Module, name: str) -> None:
    """Load a bundle's weights, from torch hub's cache or the network.

    Raises:
        FileNotFoundError: not in the cache, and the download failed; it says what to put where.
        ValueError: weights that do not fit `model`; it names the parameters.
    """
    path = cached_weights(
        find_bundle(name)._path, name, "name a local copy: encoder_conf: {weights: FILE}"
    )
    load_file(model, path)


def load_file(model: nn.Module, path: Path) -> None:
    """Load a local file of weights: a state dict in torchaudio's names, with or without a head.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no state dict, or weights that do not fit `model`; it names the parameters.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights: there is no file {path}")
    try:
        state = load_tensors_alone(path)
    except ValueError as fault:
        raise ValueError(f"{fault}; {_RULE}") from fault
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path}: {_RULE}; got {_describe(state)}")
    state = dict(state)
    # Bundles whose input is normalised come wrapped: their names start with "model.".
    nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "model.")
    state = {name: value for name, value in state.items() if not name.startswith("aux.")}
    try:
        missing, unknown = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights must have the model's shapes: {error}") from error
    if missing or unknown:
        raise ValueError(
            f"{path}: the weights must be those of the configured model; "
            f"missing: {_some(missing)}, unknown: {_some(unknown)}"
        )


def parameters_in(init_param: str) -> set[str]:
    """Names of the parameters that ESPnet will set for one `--init_param FILE:SOURCE:TARGET:EXCLUDED`."""
    path, source, target, excluded = (*init_param.split(":", 4), "", "", "")[:4]
    state = load_parameters(Path(path), map_location="meta")
    names = [str(name) for name in state.get("module", state)]
    names = [n for n in names if not (excluded and n.startswith(tuple(excluded.split(","))))]
    if source:
        names = [name[len(source) + 1 :] for name in names if name.startswith(source)]
    return {f"{target}.{name}" if target else name for name in names}


_RULE = (
    "weights must be a state dict of a torchaudio model (those of fairseq and Hugging Face are converted by "
    "torchaudio.models.wav2vec2.utils)"
)


def _describe(state: object) -> str:
    if isinstance(state, Mapping):
        return f"a mapping with {_some([str(name) for name in state])}"
    return f"a {type(state).__name__}"


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5]) or "none"
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown


def _nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
