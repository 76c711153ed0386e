"""Rows of results from the score files of an experiment folder; `report.records` writes them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from espnet_ottc.recipe.paths import ALIGNED, DECODED, PROVENANCE, score_file
from espnet_ottc.utils.json_files import read_json_object

TIME_METRICS = (
    "boundary_mae_ms",
    "boundary_median_ms",
    "idr",
    "iou",
    "start_f1",
    "strict_f1_20ms",
    "coverage",
    "start_mae_ms",
    "end_mae_ms",
    "start_bias_ms",
    "end_bias_ms",
    "within_50ms",
    "within_200ms",
)
PEAKINESS = ("peaky", "peaky_raw", "silence")
_TIME_COUNTS = (
    "utterances",
    "reference_words",
    "hypothesis_words",
    "matched_words",
    "boundaries",
    "starts_within_collar",
    "strict_within_20ms",
    "overlap_seconds",
    "reference_seconds",
    "special_frames",
    "frames",
)

# Names of folders of one training each.
_EXPERIMENT = re.compile(r"seed\d+")

Row = dict[str, Any]


def collect_rows(expdir: Path, text_decoder: str, reference_system: str | None = None) -> list[Row]:
    """One row for each system, set, seed and decoder, from `score.json` and `provenance.json` alone.

    A row of a decoder in time (transport, viterbi, forced_align) has the words of `text_decoder`
    beside its times; each other decoder of words has a row without times, and so has `text_decoder`
    where a set has no reference times.

    Args:
        expdir: with `<system>/seed<N>/decode_<decoder>/<set>/score.json` and
            `<system>/seed<N>/align_<decoder>/<set>/score.json`.
        text_decoder: the decoder of words.
        reference_system: the system whose forced alignment times were scored against
            (`score_by_<system>.json`); None: they were scored against those that came with the corpus.

    Raises:
        ValueError: no score file at all.
    """
    rows: list[Row] = []
    for experiment in sorted(expdir.glob("*/seed*")):
        if not _EXPERIMENT.fullmatch(experiment.name):
            continue  # somebody's copy
        rows += _rows_of(experiment, text_decoder, reference_system)
    if not rows:
        raise ValueError(f"{expdir} has no score files: run stage 10 (scores) first")
    return sorted(rows, key=lambda r: (r["set"], r["system"], r["decoder"], r["seed"]))


def _rows_of(experiment: Path, text_decoder: str, reference_system: str | None) -> Iterator[Row]:
    words = {
        key: read_json_object(path) for key, path in _scores(experiment, DECODED, score_file())
    }
    times = {
        key: read_json_object(path)
        for key, path in _scores(experiment, ALIGNED, score_file(reference_system))
    }
    if not words and not times:
        return  # another run is still training it
    about = read_json_object(experiment / PROVENANCE)
    if reference_system is not None:
        about["reference_times"] = f"forced alignment of {reference_system}, same seed"
    timed_sets = {set_name for _, set_name in times}
    head = {
        "system": experiment.parent.name,
        "seed": int(experiment.name.removeprefix("seed")),
    }
    for (decoder, set_name), score in times.items():
        text = words.get((text_decoder, set_name))
        yield _row({**head, "decoder": decoder, "set": set_name}, text, score, about) | {
            "text_decoder": None if text is None else text_decoder
        }
    for (decoder, set_name), score in words.items():
        if decoder != text_decoder or set_name not in timed_sets:
            yield _row({**head, "decoder": decoder, "set": set_name}, score, None, about) | {
                "text_decoder": decoder
            }


def _scores(experiment: Path, prefix: str, name: str) -> Iterator[tuple[tuple[str, str], Path]]:
    for path in sorted(experiment.glob(f"{prefix}*/*/{name}")):
        yield (path.parents[1].name.removeprefix(prefix), path.parent.name), path


def _row(
    head: Row, words: Mapping[str, Any] | None, times: Mapping[str, Any] | None, about: Row
) -> Row:
    words, times = words or {}, times or {}
    intervals = {name: words.get(f"{name}_interval") for name in ("wer", "cer")}
    return {
        **head,
        "unit": (words or times).get("unit", "word"),
        **{name: words.get(name) for name in ("wer", "cer")},
        **{name: times.get(name) for name in (*TIME_METRICS, *PEAKINESS)},
        "counts": {
            "words": words.get("wer_counts"),
            "characters": words.get("cer_counts"),
            "times": {name: times[name] for name in _TIME_COUNTS if name in times} or None,
        },
        "intervals": intervals | times.get("intervals", {}),
        "provenance": about,
    }
