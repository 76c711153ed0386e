"""Texts that the tokens cannot spell: a training on them learns `<unk>`, and says nothing."""

import argparse
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

# Texts that are looked at, and shares of their tokens that are unknown.
_LOOKED_AT = 500
_WARNED, _REFUSED = 0.02, 0.5
_UNKNOWN = "<unk>"


def check_training_texts(task: Any, args: argparse.Namespace) -> None:
    """Look whether the tokens can spell the texts of a training.

    Args:
        task: of ESPnet, which makes tokens of texts.
        args: of the training, with its token list as a list.

    Raises:
        ValueError: more than half of a text file's tokens are `<unk>`.
    """
    tokens = getattr(args, "token_list", None)
    if not isinstance(tokens, list | tuple) or _UNKNOWN not in tokens:
        return
    preprocess = task.build_preprocess_fn(args, False)
    if preprocess is None:
        return
    unknown = tokens.index(_UNKNOWN)

    def share(lines: list[str], change: Callable[[str], str] = str) -> float:
        ids = [i for line in lines for i in preprocess("", {"text": change(line)})["text"].tolist()]
        return sum(i == unknown for i in ids) / len(ids) if ids else 0.0

    for path in _text_files(args):
        with path.open(encoding="utf-8") as file:
            lines = [line.partition(" ")[2].strip() for line in islice(file, _LOOKED_AT)]
        found = share(lines)
        if found <= _WARNED:
            continue
        cases = (("upper", str.upper), ("lower", str.lower))
        hint = "".join(
            f"; in {name} case it would be {100 * changed:.0f} %"
            for name, change in cases
            if (changed := share(lines, change)) < found / 2
        )
        message = f"{path}: {100 * found:.0f} % of its tokens are {_UNKNOWN}{hint}"
        if found > _REFUSED:
            raise ValueError(f"{message}; write the text as the token list has it")
        logging.warning("%s", message)


def _text_files(args: argparse.Namespace) -> Iterator[Path]:
    for path, name, kind in getattr(args, "train_data_path_and_name_and_type", None) or ():
        if (name, kind) == ("text", "text") and Path(path).is_file():
            yield Path(path)
