"""Fixtures for tests of the recipes: ESPnet and what it imports use deprecated names."""

import contextlib
import io
import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")
    import espnet2.bin.asr_inference  # noqa: F401

    import espnet_ottc.espnet.register  # noqa: F401

_FOREIGN_WARNINGS = (
    "ignore:::espnet2",
    "ignore:::espnet\\.",
    "ignore:::torch\\.",
    "ignore:::torchaudio",
    "ignore:::lhotse",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            for line in _FOREIGN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(line))
