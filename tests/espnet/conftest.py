"""Fixtures for tests of the ESPnet plug-in."""

import importlib.util
import re
import warnings
from pathlib import Path

import pytest

# ESPnet and what it imports use deprecated names of torch and of the standard library.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from espnet_lab import Lab, Tones, write_tones

_FOREIGN_WARNINGS = (
    "ignore:::espnet2",
    "ignore:::espnet\\.",
    "ignore:::espnetez",
    # ESPnet leaves text files open; they are closed while torch's data loader runs.
    "ignore:unclosed file:ResourceWarning",
)
# Its right versions need a newer NumPy than the oldest ESPnet takes.
_HAS_TSLEARN = importlib.util.find_spec("tslearn") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            for line in _FOREIGN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(line))
            if not _HAS_TSLEARN and re.search("soft_?dtw|warping", item.name, re.IGNORECASE):
                item.add_marker(pytest.mark.skip(reason="the extra [soft_dtw] is not installed"))


@pytest.fixture(scope="session")
def train_tones(tmp_path_factory: pytest.TempPathFactory) -> Tones:
    return write_tones(tmp_path_factory.mktemp("tones") / "train", count=48, seed=1)


@pytest.fixture(scope="session")
def valid_tones(tmp_path_factory: pytest.TempPathFactory) -> Tones:
    return write_tones(tmp_path_factory.mktemp("tones") / "valid", count=8, seed=2)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, train_tones: Tones, valid_tones: Tones) -> Lab:
    return Lab(tmp_path_factory.mktemp("lab"), train_tones, valid_tones)
