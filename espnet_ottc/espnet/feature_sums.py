"""Sums of features utterance by utterance, so that statistics do not depend on who collected which part."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from espnet2.main_funcs.collect_stats import collect_stats
from espnet2.train.abs_espnet_model import AbsESPnetModel

SUMS = "_sums.npz"


def collect_with_sums(
    model: AbsESPnetModel | None,
    train_iter: Iterable[Any],
    valid_iter: Iterable[Any],
    output_dir: Path,
    **options: Any,
) -> None:
    """ESPnet's `collect_stats`, which also leaves `<features>_sums.npz` for both sets.

    Its arrays are `count` (N,), `sum` and `sum_square` (N, D): of each utterance's frames.

    Args:
        model: extracts the features; None: there are none, only lengths.
        train_iter: batches of one utterance.
        valid_iter: the same of the validation set.
        output_dir: for the files.
        options: ESPnet's other ones.
    """
    sums: dict[str, list[tuple[int, Any, Any]]] = {}
    if model is not None:
        extract = model.collect_feats

        def collect_feats(**batch: Any) -> Any:
            data = extract(**batch)
            for key, values in data.items():
                frames = values.cpu().numpy()
                if f"{key}_lengths" in data:
                    (frames,) = frames[:, : int(data[f"{key}_lengths"][0])]
                row = (len(frames), frames.sum(0), (frames**2).sum(0))
                sums.setdefault(key, []).append(row)
            return data

        model.collect_feats = collect_feats
    collect_stats(model, train_iter, valid_iter, output_dir, **options)
    lengths = next((output_dir / "train").glob("*_shape"))
    count = len(lengths.read_text(encoding="utf-8").splitlines())
    for key, rows in sums.items():
        for part, of_part in (("train", rows[:count]), ("valid", rows[count:])):
            frames, total, square = map(np.array, zip(*of_part, strict=True))
            path = output_dir / part / f"{key}{SUMS}"
            np.savez(path, count=frames, sum=total, sum_square=square)
