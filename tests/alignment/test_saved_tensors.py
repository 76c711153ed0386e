"""Files of parameters by every function that reads some: what is no such file is one line that names it."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from espnet_ottc.alignment.saved_tensors import load_tensors_alone


class _Hostile:
    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.made), "w")


def _cut(path: Path) -> bytes:
    torch.save({"weight": torch.zeros(100)}, path)
    return path.read_bytes()[:300]


def _weights(path: Path) -> object:
    pretrained = pytest.importorskip("espnet_ottc.espnet.encoders.pretrained")
    return pretrained.load_file(nn.Linear(1, 1), path)


def _parameters(path: Path) -> object:
    return pytest.importorskip("espnet_ottc.espnet.checkpoints").load_parameters(path)


def _of_the_aligner(path: Path) -> object:
    from espnet_ottc.aligner.models.parameters import load_tensors

    return load_tensors(path)


READERS = (load_tensors_alone, _parameters, _weights, _of_the_aligner)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["hostile", "cut", "text", "page", "empty"])
def test_what_is_no_file_of_tensors_is_one_line_that_names_it(
    tmp_path: Path, read: Callable[[Path], object], kind: str
) -> None:
    path, made = tmp_path / "some.pth", tmp_path / "made"
    contents = {
        "hostile": pickle.dumps(_Hostile(made), protocol=2),
        "cut": _cut(path),
        "text": b"hello\n",
        "page": b"<html>not found</html>",
        "empty": b"",
    }
    path.write_bytes(contents[kind])
    with pytest.raises(ValueError, match=r"some\.pth: .*; PyTorch says: .") as raised:
        read(path)
    said = str(raised.value)
    assert said.isprintable()
    assert "weights_only` set to" not in said
    assert "can still be loaded" not in said
    assert ("open" in said.partition("PyTorch says")[2]) == (kind == "hostile")
    assert not made.exists()
