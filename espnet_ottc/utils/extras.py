"""Optional dependencies: which extra of this distribution brings a package that is missing."""

from collections.abc import Sequence
from importlib.util import find_spec

# What each extra brings besides the extras in it, by the names that are imported.
EXTRAS: dict[str, tuple[str, ...]] = {
    "align": (
        *("babel", "charset_normalizer", "kaldialign", "lhotse", "num2words", "numpy", "praatio"),
        *("pympi", "pysubs2", "regex", "silero_vad", "soundfile", "soxr", "tqdm"),
    ),
    "cluster": ("asyncssh", "dask_jobqueue", "distributed"),
    "espnet": ("espnet2", "sentencepiece", "tensorboard", "torchaudio", "yaml"),
    "examples": ("accelerate", "lightning", "matplotlib", "sklearn", "torchaudio", "transformers"),
    "models": ("av", "safetensors", "torchaudio", "transformers", "uroman"),
    "recipe": ("distributed",),
    "report": ("jinja2", "matplotlib", "yaml"),
    "s3": ("boto3", "s3fs"),
    "shar": ("aiohttp", "fsspec", "smart_open"),
    "soft_dtw": ("tslearn",),
    "synth": ("espeakng_loader",),
    "teacher": ("transformers",),
}


class MissingExtraError(ImportError):
    """A package that an extra of this distribution brings is not installed."""

    def __init__(self, what: str, extra: str, missing: Sequence[str]) -> None:
        names = ", ".join(missing)
        super().__init__(
            f"{what} needs the extra [{extra}]: pip install 'espnet-ottc[{extra}]', or '.[{extra}]' in a "
            f"clone (missing: {names})",
            name=missing[0] if missing else None,
        )


def require_extra(extra: str, what: str, packages: Sequence[str] | None = None) -> None:
    """Check that the packages of an extra can be found, without importing them.

    Args:
        extra: its name, a key of `EXTRAS`.
        what: the module or command that needs it, the subject of the message.
        packages: those that are needed, by the names that are imported; None: all that the extra
            itself brings.

    Raises:
        MissingExtraError: at least one of them is not installed; it names the extra and the command
            that installs it.
        KeyError: there is no such extra.
    """
    wanted = EXTRAS[extra] if packages is None else packages
    missing = [name for name in wanted if not _is_there(name)]
    if missing:
        raise MissingExtraError(what, extra, missing)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        # A module that another program put into sys.modules by hand has no specification.
        return False
