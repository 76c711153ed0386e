"""The metrics of a result: what they are called, their units, which way is good, how tables show them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: the field of the row.
        title: what it is called.
        unit: "%" or "ms".
        lower_is_better: which way is good; None: neither, it should be near 0.
        meaning: one line for the legend.
        decimals: how many to show.
    """

    key: str
    title: str
    unit: str
    lower_is_better: bool | None
    meaning: str
    decimals: int = 2

    @property
    def heading(self) -> str:
        """Title, the direction that is good, and the unit."""
        arrow = {True: "↓ ", False: "↑ ", None: ""}[self.lower_is_better]
        return f"{self.title} {arrow}{self.unit}"

    def of(self, unit: str) -> "Metric":
        """The metric in the words of a unit, "word" or "phone"."""
        return replace(self, title=in_unit(self.title, unit), meaning=in_unit(self.meaning, unit))

    def text(self, value: float | None) -> str:
        """The value as tables show it; an en dash where there is none."""
        return "–" if value is None else f"{value:.{self.decimals}f}"


METRICS = (
    Metric("wer", "WER", "%", True, "word errors over reference words"),
    Metric("cer", "CER", "%", True, "character errors over reference characters"),
    Metric(
        "boundary_mae_ms", "Boundary mean", "ms", True, "mean |error| of word starts and ends", 1
    ),
    Metric("boundary_median_ms", "Boundary median", "ms", True, "its median", 1),
    Metric(
        "idr", "IDR", "%", False, "share of the reference words' time that the hypothesis covers", 1
    ),
    Metric("iou", "IoU", "%", False, "mean intersection over union of words", 1),
    Metric("start_f1", "Start F1", "%", False, "word starts found within the collar", 1),
    Metric("strict_f1_20ms", "Strict F1", "%", False, "start and end both within 20 ms", 1),
    Metric(
        "peaky", "Peaky", "%", True, "frames on blank or space, less the share of real silence", 1
    ),
    Metric("coverage", "Coverage", "%", False, "reference words that got a time", 1),
    Metric("start_mae_ms", "Starts", "ms", True, "mean |error| of word starts", 1),
    Metric("end_mae_ms", "Ends", "ms", True, "mean |error| of word ends", 1),
    Metric("start_bias_ms", "Start bias", "ms", None, "mean error of word starts; late is > 0", 1),
    Metric("end_bias_ms", "End bias", "ms", None, "mean error of word ends; late is > 0", 1),
    Metric("within_50ms", "Within 50", "%", False, "boundaries with an error of at most 50 ms", 1),
    Metric("within_200ms", "Within 200", "%", False, "the same of 200 ms", 1),
)
UNITS = ("word", "phone")
# What the texts about words say of phones.
_OF_PHONES = {"WER": "PER", "Wrd": "Phn", "word": "phone", "space": "silence"}
SHORT_KEYS = ("wer", "boundary_mae_ms", "idr", "iou", "peaky")


def in_unit(text: str, unit: str) -> str:
    """A text about words in the words of a unit, "word" or "phone"."""
    if unit == "phone":
        for word, phone in _OF_PHONES.items():
            text = text.replace(word, phone)
    return text


def interval_text(metric: Metric, interval: tuple[float, float] | None) -> str:
    """An interval as tables show it; empty where there is none."""
    if interval is None:
        return ""
    return f"[{metric.text(interval[0])}, {metric.text(interval[1])}]"


def count_text(counts: Sequence[tuple[str, int | float]]) -> str:
    """Counts in one line: `Snt 40, Wrd 200, ...`."""
    return ", ".join(
        f"{label} {number:.2f}" if isinstance(number, float) else f"{label} {number}"
        for label, number in counts
    )
