"""Peakiness: how many frames a model gives to no letter."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

from espnet_ottc.alignment.spans import Span


@dataclass(frozen=True)
class Peakiness:
    """The share of frames on the blank or the separator, beside the share of real silence.

    (OTTC, arXiv 2502.01588, "Peaky behaviour"; the published tables subtract real silence.)

    Attributes:
        special_frames: frames on the blank or the separator.
        frames: all frames.
        silence: seconds outside the reference's words; None where no reference times are known.
        seconds: seconds of all utterances; None likewise.

    Raises:
        ValueError: one of `silence` and `seconds` without the other, or not 0 <= silence <= seconds.
    """

    special_frames: int
    frames: int
    silence: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        silence, seconds = self.silence, self.seconds
        if (silence is None) != (seconds is None):
            raise ValueError(f"silence and seconds belong together, got {silence} and {seconds}")
        if silence is not None and seconds is not None and not 0 <= silence <= seconds:
            raise ValueError(f"0 <= silence <= seconds must hold, got {silence} and {seconds}")

    @classmethod
    def count(
        cls,
        frame_tokens: Iterable[Sequence[Hashable]],
        special: Collection[Hashable],
        silence: float | None = None,
        seconds: float | None = None,
    ) -> "Peakiness":
        """Count the frames of many utterances.

        Args:
            frame_tokens: token id or symbol of each frame, per utterance; a dropped frame counts
                as the blank.
            special: ids or symbols of the blank and the word separator.
            silence: seconds of real silence in these utterances (`silence_seconds`).
            seconds: seconds of these utterances.
        """
        ids = frozenset(special)
        hits = total = 0
        for tokens in frame_tokens:
            hits += sum(token in ids for token in tokens)
            total += len(tokens)
        return cls(hits, total, silence, seconds)

    @property
    def raw(self) -> float | None:
        """special_frames / frames, in [0, 1]; None without frames."""
        return self.special_frames / self.frames if self.frames else None

    @property
    def silence_share(self) -> float | None:
        """silence / seconds, in [0, 1]; None where unknown."""
        return self.silence / self.seconds if self.silence is not None and self.seconds else None

    @property
    def subtracted(self) -> float | None:
        """raw − silence_share, in [−1, 1]; negative where real silence is given to letters."""
        if self.raw is None or self.silence_share is None:
            return None
        return self.raw - self.silence_share

    def as_row(self) -> dict[str, float | int | None]:
        """Shares in percent with their counts, named as in result tables."""
        return {
            "peaky_raw": _percent(self.raw),
            "silence": _percent(self.silence_share),
            "peaky": _percent(self.subtracted),
            "special_frames": self.special_frames,
            "frames": self.frames,
        }


def silence_seconds(words: Iterable[Span], duration: float) -> float:
    """Seconds of an utterance in which no word is spoken; words may overlap.

    Args:
        words: the reference's words, in any order.
        duration: the utterance's length in seconds.
    """
    return uncovered_seconds(((word.start, word.end) for word in words), duration)


def uncovered_seconds(times: Iterable[tuple[float, float]], duration: float) -> float:
    """As `silence_seconds`, of starts and ends alone.

    Args:
        times: start and end of each word, seconds, in any order.
        duration: the utterance's length in seconds.
    """
    spoken = covered = 0.0
    for start, word_end in sorted(times, key=lambda one: one[0]):
        end = min(word_end, duration)
        spoken += max(end - max(start, covered), 0.0)
        covered = max(covered, end)
    return max(duration - spoken, 0.0)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
