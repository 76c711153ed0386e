"""Pretrained weights of torchaudio in the cache of torch.hub, downloaded where they are missing."""

import logging
from pathlib import Path

import torch

_SERVER = "https://download.pytorch.org/torchaudio/models/"


def weights_url(path: str) -> str:
    """Where weights are downloaded from that torchaudio names by a path, or by their address."""
    return path if path.startswith("https") else _SERVER + path


def cached_weights(path: str, name: str, advice: str) -> Path:
    """The file in the cache.

    Args:
        path: as torchaudio names it.
        name: of the model, with which errors begin.
        advice: what else the user can do, behind where the file is to be put.

    Raises:
        FileNotFoundError: not in the cache, and the download failed; it says what to put where.
    """
    url = weights_url(path)
    place = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not place.exists():
        logging.info(f"{name}: downloading {url} to {place}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(place), progress=False)
        except OSError as fault:
            raise FileNotFoundError(
                f"{name}: its weights are not on this machine, and their download failed ({fault}). "
                f"Download {url} elsewhere and put it at {place}, or {advice}"
            ) from fault
    return place
