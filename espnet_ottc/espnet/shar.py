"""The data type `shar`: training on a stream of Lhotse Shar, each worker of each process on its own shards.

`DIR_OR_URL,speech,shar` gives audio and texts.  An epoch's batches follow from the seed, the epoch and the
number of processes and workers, so that a training that was killed goes on with the batches that it would
have had.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.iterators.sequence_iter_factory import worker_init_fn
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, DynamicCutSampler
from lhotse.dataset.sampling.dynamic_bucketing import estimate_duration_buckets

from espnet_ottc.alignment.formats.shar import Shard, shar_cuts, shar_headers, shar_shards
from espnet_ottc.espnet.data import samples_of

DATA_TYPE = "shar"
# Of a worker: cuts, with their audio as it is stored, among which it draws.
_BUFFER = 1000
_BUCKETS = 20
# Headers whose durations divide the buckets.
_LOOKED_AT = 10_000

Utterance = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Batching:
    """How a stream is divided into batches.

    Attributes:
        size: utterances of a batch.
        seconds: of a batch, of utterances of like durations; None: `size` counts.
        bounds: durations between the buckets, in seconds.
    """

    size: int
    seconds: float | None = None
    bounds: Sequence[float] = ()


@dataclass
class SharBatches(torch.utils.data.IterableDataset[list[Utterance]]):
    """Batches of one epoch, for one process; each worker of its DataLoader has its part.

    Attributes:
        shards: of the source.
        batching: how they become batches.
        preprocess: ESPnet's, which makes ids of texts.
        shuffle: of shards and of utterances.
        seed: of the epoch.
        rank, processes: this process, and how many share the source.
        repeat: begin anew where the source ends, and again.
    """

    shards: Sequence[Shard]
    batching: Batching
    preprocess: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None
    shuffle: bool = False
    seed: int = 0
    rank: int = 0
    processes: int = 1
    repeat: bool = False

    def __iter__(self) -> Iterator[list[Utterance]]:
        """Utterances as ESPnet collates them.

        Raises:
            ValueError: a damaged shard, audio that cannot be read, a cut without text.
        """
        worker = torch.utils.data.get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        part = self.rank * workers + number, self.processes * workers
        for batch in self._sampler(CutSet(_Passes(self, *part)), self.seed * 1000 + part[0]):
            yield [self._utterance(cut) for cut in batch]

    def _sampler(self, cuts: CutSet, seed: int) -> Any:
        settings = {"shuffle": self.shuffle, "seed": seed, "rank": 0, "world_size": 1}
        if self.batching.seconds is None:
            return DynamicCutSampler(
                cuts, max_cuts=self.batching.size, shuffle_buffer_size=_BUFFER, **settings
            )
        return DynamicBucketingSampler(
            cuts,
            max_duration=self.batching.seconds,
            duration_bins=list(self.batching.bounds),
            buffer_size=_BUFFER,
            **settings,
        )

    def _utterance(self, cut: Cut) -> Utterance:
        text = cut.supervisions[0].text if cut.supervisions else None
        if text is None:
            raise ValueError(f"{cut.id}: must have a text")
        data: dict[str, Any] = {"speech": samples_of(cut), "text": text}
        if self.preprocess is not None:
            data = self.preprocess(cut.id, data)
        return cut.id, {name: _as_espnet(value) for name, value in data.items()}


@dataclass(frozen=True)
class _Passes:
    """Cuts of a part of the shards: once, or for ever."""

    of: SharBatches
    part: int
    parts: int

    def __iter__(self) -> Iterator[Cut]:
        for turn in count() if self.of.repeat else range(1):
            shards = list(self.of.shards)
            if self.of.shuffle:
                random.Random(f"{self.of.seed} {turn}").shuffle(shards)
            yield from shar_cuts(shards[self.part :: self.parts])


class SharIterFactory(AbsIterFactory):  # type: ignore[misc]
    """Makes the batches of each epoch; see `SharBatches`.

    Args:
        batches: of any epoch.
        seed: of the training.
        collate: ESPnet's, which pads.
        most: batches of an epoch; None: of the source as a whole.
        workers: of each process.
        shared: whether all processes of a training share the source.

    Raises:
        ValueError: fewer shards than workers of all processes.
    """

    def __init__(
        self,
        batches: SharBatches,
        seed: int,
        collate: Callable[[Sequence[Utterance]], Any],
        *,
        most: int | None = None,
        workers: int = 0,
        shared: bool = False,
    ) -> None:
        self.batches, self.seed, self.collate = batches, seed, collate
        self.most, self.workers = most, workers
        distributed = shared and torch.distributed.is_initialized()
        self.rank = torch.distributed.get_rank() if distributed else 0
        self.processes = torch.distributed.get_world_size() if distributed else 1
        parts = self.processes * max(1, workers)
        if len(batches.shards) < parts:
            raise ValueError(
                f"Shar must have a shard for each of {self.processes} processes with {workers} workers "
                f"(--num_workers), it has {len(batches.shards)}"
            )

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Iterator[Any]:
        """The batches of an epoch."""
        batches = replace(
            self.batches,
            shuffle=self.batches.shuffle if shuffle is None else shuffle,
            seed=self.seed + epoch,
            rank=self.rank,
            processes=self.processes,
        )
        loader = torch.utils.data.DataLoader(
            batches,
            batch_size=None,
            collate_fn=self.collate,
            num_workers=self.workers,
            worker_init_fn=partial(worker_init_fn, base_seed=self.seed + epoch),
        )
        return islice(loader, self.most)


def shar_source(streams: Sequence[tuple[str, str, str]]) -> str | None:
    """The source where one of ESPnet's data streams is of Shar; None where none is.

    Args:
        streams: path, name and type of each.

    Raises:
        ValueError: others beside it.
    """
    if all(kind != DATA_TYPE for _, _, kind in streams):
        return None
    ((source, name, _), *others) = streams
    if others or name != "speech":
        raise ValueError(f"SOURCE,speech,{DATA_TYPE} must be the only data, got {list(streams)}")
    return source


def shar_iter_factory(source: str, options: Any, args: Any, mode: str) -> SharIterFactory:
    """ESPnet's factory of batches for a source.

    Args:
        source: as `shar_source` gives it.
        options: ESPnet's of the iterator.
        args: ESPnet's of the training.
        mode: train, valid or plot_att.

    Raises:
        FileNotFoundError, ValueError: as `shar_shards` and `SharIterFactory`.
    """
    shards = shar_shards(source)
    most = options.num_batches if mode == "plot_att" else options.num_iters_per_epoch
    batches = SharBatches(
        shards,
        _batching(shards, options),
        options.preprocess_fn,
        shuffle=options.train,
        repeat=most is not None and options.train,
    )
    return SharIterFactory(
        batches,
        args.seed,
        options.collate_fn,
        most=most,
        workers=args.num_workers,
        shared=options.distributed,
    )


def _batching(shards: Sequence[Shard], options: Any) -> Batching:
    if options.batch_type not in ("numel", "length"):
        return Batching(options.batch_size)
    some = list(islice(shar_headers(shards), _LOOKED_AT))
    seconds = options.batch_bins / some[0].sampling_rate
    few = min(_BUCKETS, max(2, len(some) // 2))
    bounds = estimate_duration_buckets(some, few)
    return Batching(options.batch_size, seconds, bounds)


def _as_espnet(value: Any) -> Any:
    kinds = {"f": np.float32, "i": np.int64}
    kind = getattr(getattr(value, "dtype", None), "kind", None)
    return value.astype(kinds[kind]) if kind in kinds else value
