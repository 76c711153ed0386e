"""Files of scored parts, as they go from one process to another."""

import json
from array import array
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.scoring.parts import Columns
from espnet_ottc.alignment.scoring.time_counts import CountedTimes
from espnet_ottc.alignment.scoring.word_counts import CountedWords

# Whole numbers with a sign and without, and floats.
_KINDS = {"i": "q", "u": "Q", "f": "d"}
_SUMS = "sums"


def write_part(path: Path, part: CountedWords | CountedTimes | None) -> None:
    """Write a part.

    Args:
        path: a file `.npz`.
        part: None: it cannot be scored alone.

    Raises:
        OSError: the file cannot be written.
    """
    import numpy as np

    columns = {} if part is None else part.columns()
    sums = None if part is None else part.sums()
    arrays: dict[str, Any] = {name: np.array(column) for name, column in columns.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **{_SUMS: np.array(json.dumps(sums))})


def read_part(path: Path, *, times: bool) -> CountedWords | CountedTimes | None:
    """Read what `write_part` wrote.

    Args:
        path: the file.
        times: whether times were scored; else words.

    Raises:
        OSError: the file cannot be read.
    """
    import numpy as np

    with np.load(path, allow_pickle=False) as content:
        sums = json.loads(str(content[_SUMS]))
        if sums is None:
            return None
        columns: Columns = {
            name: array(_KINDS[content[name].dtype.kind], content[name].tobytes())
            for name in content.files
            if name != _SUMS
        }
    return CountedTimes.of(columns, sums) if times else CountedWords.of(columns, sums)
