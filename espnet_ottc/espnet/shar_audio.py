"""The data type `shar` where ESPnet asks for utterances by their ids: in decoding and in statistics.

`DIR_OR_URL,speech,shar` gives the audio of a stream of Lhotse Shar, in its order.  Trainings draw from it
otherwise (`espnet_ottc.espnet.shar`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lhotse.cut import Cut

from espnet_ottc.alignment.formats.shar import Shard, shar_cuts, shar_ids, shar_shards
from espnet_ottc.espnet.data import Samples, samples_of


class SharAudio(Mapping[str, Samples]):
    """Samples of a stream's utterances by their ids, which have to be asked for in its order.

    Some may be left out: shards without any that is asked for stay unread.  Each process that uses it begins
    at the start.

    Args:
        source: folder or URL.
        allow_multi_rates: accept cuts of different sampling rates.

    Raises:
        FileNotFoundError, ValueError, ImportError: as `shar_shards`.
    """

    def __init__(self, source: str, allow_multi_rates: bool = False) -> None:
        self.source = source
        self.allow_multi_rates = allow_multi_rates
        self.shards = shar_shards(source)
        self._rate: int | None = None
        self._asked: str | None = None
        self._shards: Iterator[Shard] = iter(self.shards)
        self._cuts: Iterator[Cut] = iter(())

    def __getitem__(self, utterance: str) -> Samples:
        """Samples of an utterance: (N,), or (N, channels) where there are several; float32 in [-1, 1].

        Raises:
            KeyError: the stream has no such cut behind the one that was asked for last.
            ValueError: a damaged shard, another sampling rate than before.
            ValueError: audio that cannot be read.
        """
        cut = self._next(utterance)
        self._asked = utterance
        if self._rate not in (None, cut.sampling_rate) and not self.allow_multi_rates:
            raise ValueError(
                f"{utterance}: all cuts of {self.source} must have one sampling rate, got "
                f"{cut.sampling_rate} after {self._rate} Hz (resample with Lhotse, or set "
                "--allow_multi_rates true)"
            )
        self._rate = cut.sampling_rate
        return samples_of(cut)

    def _next(self, utterance: str) -> Cut:
        while True:
            for cut in self._cuts:
                if cut.id == utterance:
                    return cut
            shard = next((one for one in self._shards if utterance in shar_ids(one)), None)
            if shard is None:
                raise KeyError(
                    f"{utterance}: {self.source} must have this cut"
                    + (f" behind {self._asked}" if self._asked else "")
                    + ", since a stream is read in its order"
                )
            self._cuts = shar_cuts([shard])

    def __iter__(self) -> Iterator[str]:
        """Ids in the stream's order."""
        for shard in self.shards:
            yield from shar_ids(shard)

    def __len__(self) -> int:
        return sum(len(shar_ids(shard)) for shard in self.shards)

    def __contains__(self, utterance: object) -> bool:
        return any(utterance in shar_ids(shard) for shard in self.shards)

    def __getstate__(self) -> dict[str, Any]:
        begin = {"_asked": None, "_rate": None, "_shards": None, "_cuts": None}
        return {**self.__dict__, **begin}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self._shards, self._cuts = iter(self.shards), iter(())
