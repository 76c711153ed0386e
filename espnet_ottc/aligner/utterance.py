"""What is aligned: a stretch of a channel of a recording, with its text or without one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.formats.shar import Shard

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass(frozen=True)
class Recording:
    """Where sound comes from.

    Attributes:
        id: its name; several utterances may share it.
        path: the file; None for a cut whose sound Lhotse has to make (mixed, padded, perturbed, archived).
        cut: that cut.
        shard: of a stream of Lhotse Shar, which has the sound of the cut; None for another.
    """

    id: str
    path: Path | None = None
    cut: "Cut | None" = None
    shard: Shard | None = None


@dataclass(frozen=True)
class Utterance:
    """What is aligned at once.

    Attributes:
        id: its name, given once in a run; any characters.
        recording: where its sound comes from.
        channel: `mix` for the mean of all channels, or the number of one, counted from 1.
        start: seconds from the recording's start.
        end: seconds; None: to the recording's end.
        text: what is said in it, as people write it; None: the model has to recognise it.
        speaker: who speaks; empty where it is not known.
    """

    id: str
    recording: Recording
    channel: str | int = "mix"
    start: float = 0.0
    end: float | None = None
    text: str | None = None
    speaker: str = ""


@dataclass(frozen=True)
class Failure:
    """What could not be done.

    Attributes:
        id: of the utterance, or the path that was given.
        reason: one line.
        source: the recording's file, where one is known.
    """

    id: str
    reason: str
    source: str | None = None
