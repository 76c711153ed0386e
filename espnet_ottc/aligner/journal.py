"""What a run has done, utterance by utterance, so that the next one goes on after a kill."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.aligned import AlignedUtterance, AlignedWord
from espnet_ottc.alignment.spans import Span
from espnet_ottc.utils.json_files import parsed_object

# What a line gives that another version wrote, or nobody.
_FAULTS = (ValueError, KeyError, TypeError, AttributeError)


class Journal:
    """A file with a line for each utterance that is done, under the key of what it was made from.

    Args:
        path: the file; made with its folder when the first line is written.
        anew: forget what is there.
    """

    def __init__(self, path: Path, anew: bool = False) -> None:
        self.path = path
        self._places: dict[str, int] = {}
        if anew:
            path.unlink(missing_ok=True)
        elif path.exists():
            self._read()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, utterance: AlignedUtterance) -> None:
        """Write an utterance down; once this returns, a kill does not lose it."""
        line = json.dumps({"key": key, **asdict(utterance)}, ensure_ascii=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = line.encode("utf-8", "surrogatepass")
        with self.path.open("ab") as file:
            file.write(content)
            file.flush()
            # Where it was appended, whoever else appends.
            self._places[key] = file.tell() - len(content)

    def get(self, key: str) -> AlignedUtterance:
        """An utterance that is done.

        Raises:
            KeyError: it is not.
        """
        with self.path.open("rb") as file:
            file.seek(self._places[key])
            return _parsed(file.readline())[1]

    def _read(self) -> None:
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    key = _parsed(line)[0]
                except _FAULTS:
                    # A kill leaves half a line, another version other content: both are done again.
                    key = None
                if not line.endswith(b"\n"):
                    break
                if key is not None:
                    self._places[key] = whole
                whole += len(line)
        if whole < self.path.stat().st_size:
            os.truncate(self.path, whole)


def _parsed(line: bytes) -> tuple[str, AlignedUtterance]:
    content = parsed_object(line.decode("utf-8", "surrogatepass"), "a line")
    return content.pop("key"), _utterance(content)


def _utterance(content: dict[str, Any]) -> AlignedUtterance:
    words = tuple(
        AlignedWord(**{**word, "tokens": tuple(Span(**token) for token in word["tokens"])})
        for word in content["words"]
    )
    gaps = tuple(Span(**gap) for gap in content["gaps"])
    return AlignedUtterance(**{**content, "words": words, "gaps": gaps})
