"""ESPnet's models with CTC or OTTC: experiments, packed archives, tags of `espnet_model_zoo`."""

import filecmp
import hashlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from espnet_ottc.aligner.models.interface import SpeechModel
from espnet_ottc.alignment.spans import CHARACTER_SEPARATORS, SENTENCEPIECE_MARK
from espnet_ottc.alignment.text import Alphabet
from espnet_ottc.alignment.windows import FrameOutputs
from espnet_ottc.utils.commands import quiet_imports
from espnet_ottc.utils.extras import require_extra
from espnet_ottc.utils.files import folder_written_aside, written_aside
from espnet_ottc.utils.holding import hold

if TYPE_CHECKING:
    from espnet_ottc.espnet.trained_model import TrainedModel

_UNKNOWN = "<unk>"


class ESPnetModel:
    """A trained model; see `SpeechModel` for the attributes."""

    def __init__(self, name: str, model: "TrainedModel") -> None:
        self.name = name
        self.trained = model
        self.sampling_rate, self.device = model.sampling_rate, model.device
        self.grid, self.stride = model.grid, model.stride
        self.least_samples, self.pads = model.least_samples, model.pads
        self.tokens = tuple(model.token_list)
        self.token_type = model.token_type
        self.blank = model.blank
        self.boundary, self.null = model.boundary, model.null
        self.boundary_model = model.boundary_model
        self.topology = "sequence" if model.aligns_sequences else "ctc"
        separators = [i for i, token in enumerate(self.tokens) if token in CHARACTER_SEPARATORS]
        separators = [one for one in separators if one != model.unaligned]
        self.separator = separators[0] if self.token_type == "char" and separators else None
        self.unknown = self.tokens.index(_UNKNOWN) if _UNKNOWN in self.tokens else None
        self.alphabet = _alphabet(self.tokens, self.token_type)
        self.romanize: Callable[[str], str] | None = None

    def prepare(self, samples: Tensor) -> Tensor:
        """See `TrainedModel.prepare`."""
        return self.trained.prepare(samples)

    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        """See `TrainedModel.outputs`."""
        return self.trained.outputs(stretches)

    def encode(self, word: str) -> list[int]:
        """As in training: cleaner, tokenizer, token list."""
        return self.trained.token_ids(word)

    def recognise(self, outputs: FrameOutputs, decoder: str) -> str:
        """By the decoders of `ottc-decode` of the same names."""
        return self.trained.recognise(outputs, decoder)


def _alphabet(tokens: Sequence[str], token_type: str) -> Alphabet:
    spoken = [token for token in tokens if not _is_special(token)]
    if token_type in ("word", "phn"):
        return Alphabet(frozenset(), frozenset(spoken))
    return Alphabet(frozenset("".join(spoken)) - {SENTENCEPIECE_MARK} - CHARACTER_SEPARATORS)


def _is_special(token: str) -> bool:
    return token.startswith("<") and token.endswith(">")


def load(
    place: str, *, name: str, device: str, language: str | None, weights: Path | None
) -> SpeechModel:
    """See `load_model`; `language` is for models with adapters and has no meaning here."""
    require_extra("espnet", "a model of ESPnet", ("espnet2", "lhotse"))
    checkpoint = _checkpoint(Path(place), name) if Path(place).exists() else _from_zoo(place, name)
    with quiet_imports():
        from espnet_ottc.espnet.trained_model import TrainedModel

        directory = checkpoint.parent
        model = TrainedModel(directory, str((weights or checkpoint).absolute()), device)
    return ESPnetModel(name, model)


def _checkpoint(place: Path, name: str) -> Path:
    """The file of parameters of an experiment or archive, with config.yaml beside it."""
    if place.is_file() and zipfile.is_zipfile(place) and place.suffix == ".zip":
        return _unpacked(place, name)
    from espnet_ottc.utils.training_checkpoints import DEFAULT_CHECKPOINT

    path = place / DEFAULT_CHECKPOINT if place.is_dir() else place
    if place.is_dir() and not path.exists():
        averages = sorted(place.glob("valid.*.ave*.pth")) + sorted(place.glob("valid.*.best.pth"))
        if not averages:
            trained = sorted(one.parent for one in place.glob("**/config.yaml"))
            hint = (
                f"there are models in {', '.join(map(str, trained[:3]))}"
                if trained
                else "a model's folder is the output of a training of ESPnet, of save_pretrained of "
                "transformers (config.json), or what --train or ottc-tune kept"
            )
            raise FileNotFoundError(f"--model {name}: there is no {path}; {hint}")
        path = averages[0]
    if not (path.parent / "config.yaml").is_file():
        raise FileNotFoundError(
            f"--model {name}: there is no {path.parent / 'config.yaml'}; a model of ESPnet is the output "
            "directory of a training, or a file of parameters in it"
        )
    return path


def _unpacked(archive: Path, name: str) -> Path:
    """What `espnet2.bin.pack` packed, in a folder of the cache."""
    import yaml

    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
        if "meta.yaml" not in names:
            raise ValueError(
                f"--model {name}: a packed model must have meta.yaml, this archive has not"
            )
        meta: Any = yaml.safe_load(content.read("meta.yaml"))
        files = {**(meta.get("files") or {}), **(meta.get("yaml_files") or {})}
        missing = [key for key in ("asr_model_file", "asr_train_config") if key not in files]
        if missing:
            raise ValueError(f"--model {name}: meta.yaml must name {' and '.join(missing)}")
        stat = archive.stat()
        key = f"{archive.absolute()} {stat.st_size} {stat.st_mtime_ns}"
        folder = _cache() / f"{archive.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        # Other processes may want it at the same time.
        with hold(folder.with_name(f"{folder.name}.lock"), wait=lambda _: None):
            if not folder.exists():
                # zipfile keeps members inside the folder, whatever their names are.
                with folder_written_aside(folder) as aside:
                    content.extractall(aside)
    return _with_config(folder / str(files["asr_model_file"]), folder / files["asr_train_config"])


def _with_config(model: Path, config: Path) -> Path:
    """The parameters, with their configuration beside them under the name that trainings give it."""
    beside = model.parent / "config.yaml"
    # Not written again: another process may be reading it.
    if not (beside.exists() and filecmp.cmp(config, beside, shallow=False)):
        with written_aside(beside) as aside:
            shutil.copyfile(config, aside)
    return model


def _cache() -> Path:
    return Path(torch.hub.get_dir()).parent / "espnet_ottc"


def _from_zoo(tag: str, name: str) -> Path:
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ImportError as error:
        raise FileNotFoundError(
            f"--model {name}: there is no file or folder {tag}; for a tag of ESPnet's model zoo: "
            "pip install espnet_model_zoo"
        ) from error
    try:
        files = ModelDownloader().download_and_unpack(tag)
    except Exception as error:  # requests, huggingface_hub and the zoo have theirs
        first = " ".join(str(error).split())[:200]
        raise FileNotFoundError(
            f"--model {name}: the model zoo does not give it: {first}; download its archive elsewhere and "
            "give --model ARCHIVE.zip"
        ) from error
    return _with_config(Path(files["asr_model_file"]), Path(files["asr_train_config"]))
