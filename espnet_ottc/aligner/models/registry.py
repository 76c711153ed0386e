"""Where models come from, by the beginning of their names."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from espnet_ottc.aligner.models.interface import SpeechModel
from espnet_ottc.aligner.tuning import is_tuned, recogniser_of
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.utils.training_checkpoints import BOUNDARY_MODEL

Loader = Callable[..., SpeechModel]

# Beginning of the name -> module of this folder, and what the rest of the name is.
SOURCES = {
    "espnet": ("espnet_model", "experiment, packed archive or tag of espnet_model_zoo"),
    "torchaudio": ("torchaudio_model", "name of a bundle of torchaudio.pipelines, such as MMS_FA"),
    "hf": ("transformers_model", "name on the Hugging Face hub, or a folder of transformers"),
}


def load_model(
    name: str, *, device: str = "cpu", language: str | None = None, weights: Path | None = None
) -> SpeechModel:
    """Load a model.

    Args:
        name: `espnet:PATH_OR_TAG`, `torchaudio:BUNDLE`, `hf:NAME_OR_FOLDER`; or a path, whose kind is seen
            by what lies there, which may be what `ottc-tune` left.
        device: "cpu", "cuda" or "cuda:N".
        language: for models with adapters for languages (`hf:facebook/mms-1b-all`): the adapter's code.
        weights: a file of parameters in place of the one that the name stands for.

    Raises:
        FileNotFoundError: there is nothing of this name; it says what to put where.
        ValueError: a source or a bundle that is not known, a model without CTC, a device that is not there,
            parameters that are no plain tensors.
        ImportError: the source's package is not installed.
    """
    check_device(device)
    folder = Path(name)
    if is_tuned(folder):
        return _tuned(folder, device, language, weights)
    source, rest = _source(name)
    module = import_module(f"espnet_ottc.aligner.models.{SOURCES[source][0]}")
    loader: Loader = module.load
    return loader(rest, name=name, device=device, language=language, weights=weights)


def _tuned(folder: Path, device: str, language: str | None, weights: Path | None) -> SpeechModel:
    """The recogniser of a tuned model with its boundary model."""
    recogniser = recogniser_of(folder)
    own = None if recogniser.weights is None else Path(recogniser.weights)
    model = load_model(
        recogniser.place(folder),
        device=device,
        language=language or recogniser.language,
        weights=weights or own,
    )
    model.name, model.boundary_model = str(folder), BoundaryModel.load(folder / BOUNDARY_MODEL)
    return model


def check_device(device: str) -> None:
    """Refuse a device that PyTorch does not see.

    Raises:
        ValueError: with the devices that there are.
    """
    import torch

    try:
        kind = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {device!r}") from error
    if kind.type not in ("cpu", "cuda"):
        raise ValueError(f"--device must be cpu, cuda or cuda:N, got {device!r}")
    if kind.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (kind.index or 0) >= count:
            raise ValueError(
                f"--device {device}: PyTorch {torch.__version__} sees "
                f"{f'{count} CUDA devices' if count else 'no CUDA device'} here"
            )


def _source(name: str) -> tuple[str, str]:
    source, colon, rest = name.partition(":")
    if colon and source in SOURCES:
        if not rest:
            raise ValueError(f"--model {name} needs a name after the colon: {SOURCES[source][1]}")
        return source, rest
    path = Path(name)
    if path.exists():
        # A folder of transformers has its configuration as JSON, an experiment of ESPnet as YAML.
        return ("hf" if (path / "config.json").is_file() else "espnet"), name
    if colon and len(source) > 1 and "/" not in source:
        raise ValueError(f"--model {name}: the source must be one of {', '.join(SOURCES)}")
    known = "; ".join(f"{source}:… ({what})" for source, (_, what) in SOURCES.items())
    raise FileNotFoundError(f"--model: there is no {name}; a model is a path, or {known}")
