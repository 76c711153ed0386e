"""The processes that align: each has an aligner, and a killed one costs no result."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from espnet_ottc.aligner.aligner import Aligner, AlignerOptions
from espnet_ottc.aligner.lhotse_cuts import heard
from espnet_ottc.aligner.utterance import Failure, Utterance
from espnet_ottc.alignment.aligned import AlignedUtterance
from espnet_ottc.alignment.sound_files import AudioError, probe
from espnet_ottc.alignment.windows import together
from espnet_ottc.utils.commands import quiet_imports
from espnet_ottc.utils.lifetime import end_with

# Below so many seconds of sound, other processes cost more than they save.
_WORTH_A_PROCESS = 600.0
# Utterances that share a process's work, however short.
_MOST_TOGETHER = 32
_MEMORY = "the process was killed; most likely memory has run out"


@dataclass(frozen=True)
class AlignerSource:
    """What makes an aligner, in this process or another; see `Aligner.from_pretrained`."""

    model: str
    options: AlignerOptions = field(default_factory=AlignerOptions)
    device: str = "cpu"
    language: str | None = None
    weights: Path | None = None

    def make(self, device: str | None = None) -> Aligner:
        """The aligner, on its device or another."""
        return Aligner.from_pretrained(
            self.model,
            self.options,
            device=device or self.device,
            language=self.language,
            weights=self.weights,
        )


def results(
    utterances: Sequence[Utterance],
    source: AlignerSource,
    *,
    processes: int | None = None,
    debug: bool = False,
) -> Iterator[AlignedUtterance | Failure]:
    """Utterances with their times, or why they have none, as they come.

    Args:
        utterances: with ids that stand once.
        source: of the aligner.
        processes: how many; None: as many as help.
        debug: raise the first fault.

    Raises:
        FileNotFoundError, ValueError, ImportError: the model cannot be loaded.
    """
    seconds = {one.id: _seconds(one) for one in utterances}
    devices = _devices(source.device, processes, sum(seconds.values()), len(utterances))
    # The longest first, so that processes end together.
    ordered = sorted(utterances, key=lambda one: -seconds[one.id])
    anywhere = [one for one in ordered if one.recording.shard is None]
    groups = [*_shards(utterances), *_groups(anywhere, seconds, source, len(devices))]
    if len(devices) == 1:
        with quiet_imports():
            aligner = source.make(devices[0])
        for group in groups:
            yield from aligned(aligner, group, debug)
    else:
        yield from _by_processes(groups, source, devices, debug)


def _shards(utterances: Sequence[Utterance]) -> list[list[Utterance]]:
    """Those of streams, each shard's together, since it is read from its start to its end."""
    found: dict[str, list[Utterance]] = {}
    for one in utterances:
        if one.recording.shard is not None:
            found.setdefault(one.recording.shard["cuts"], []).append(one)
    return list(found.values())


def _groups(
    ordered: Sequence[Utterance],
    seconds: Mapping[str, float],
    source: AlignerSource,
    processes: int,
) -> list[list[Utterance]]:
    """Neighbours that share forward passes, at least one group for each process; a long one comes alone."""
    windows = source.options.windows
    # Some that have no length fail before they cost anything.
    sizes = [max(seconds[one.id], windows.length / _MOST_TOGETHER) for one in ordered]
    budget = min(windows.seconds_together(source.device), sum(sizes) / processes)
    return [
        [ordered[place] for place in places]
        for places in together(range(len(ordered)), sizes, budget)
    ]


def aligned(
    aligner: Aligner, group: Sequence[Utterance], debug: bool = False
) -> Iterator[AlignedUtterance | Failure]:
    """Utterances with their times, or why they have none; those of a shard as it is read."""
    left = list(group)
    try:
        for some in _heard(group, aligner):
            for one, result in zip(some, aligner.align_together(some), strict=True):
                left.pop(0)
                if isinstance(result, AlignedUtterance):
                    yield result
                elif debug:
                    raise result
                else:
                    yield _failure(one, reason_of(result))
    except (OSError, ValueError) as fault:
        # Of the shard: whatever one utterance does, it is a result.
        if debug or group[0].recording.shard is None:
            raise
        yield from (_failure(one, reason_of(fault)) for one in left)


def _heard(group: Sequence[Utterance], aligner: Aligner) -> Iterator[Sequence[Utterance]]:
    """The group; of a shard so many at a time as share a forward pass, with their sound."""
    if group[0].recording.shard is None:
        yield group
        return
    windows = aligner.options.windows
    sizes = [max(_seconds(one), windows.length / _MOST_TOGETHER) for one in group]
    stream = heard(group)
    budget = windows.seconds_together(aligner.device)
    for places in together(range(len(group)), sizes, budget):
        some: list[Utterance] = []
        try:
            for one in islice(stream, len(places)):
                some.append(one)
        except (OSError, ValueError):
            yield some  # those before the damage
            raise
        yield some


def reason_of(error: BaseException) -> str:
    """A fault in one line; one that is not of our own saying with its kind."""
    if isinstance(error, MemoryError):
        return "memory has run out"
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | OSError | ImportError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _failure(one: Utterance, reason: str) -> Failure:
    path = one.recording.path
    return Failure(one.id, reason, None if path is None else str(path))


def _seconds(one: Utterance) -> float:
    if one.end is not None:
        return one.end - one.start
    if one.recording.path is None:
        return float(one.recording.cut.duration) if one.recording.cut is not None else 0.0
    try:
        return max((probe(one.recording.path).duration or 0.0) - one.start, 0.0)
    except AudioError:
        return 0.0  # it is going to fail, and to say why


def _devices(device: str, processes: int | None, seconds: float, count: int) -> list[str]:
    """A device for each process."""
    if device == "cuda":
        import torch

        gpus = max(torch.cuda.device_count(), 1)
        wanted = processes or min(gpus, count, 1 + int(seconds / _WORTH_A_PROCESS))
        return [f"cuda:{number % gpus}" for number in range(wanted)]
    if processes is None:
        helpful = min(_cores(), count, 1 + int(seconds / _WORTH_A_PROCESS))
        processes = helpful if device == "cpu" else 1
    return [device] * min(processes, count)


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_aligner: Aligner | None = None
# Why there is none: what an initializer raises would look like a killed process.
_unloadable: Exception | None = None


def _start(source: AlignerSource, devices: "Any", threads: int) -> None:
    """Load the model in a process, on the next device; a fault is raised by the first work."""
    global _aligner, _unloadable
    import torch

    end_with(os.getppid())
    torch.set_num_threads(threads)
    try:
        with quiet_imports():
            _aligner = source.make(devices.get())
    except Exception as error:
        # Of a kind that can be sent to another process.
        kinds = (FileNotFoundError, ImportError, ValueError)
        kind = next((kind for kind in kinds if isinstance(error, kind)), RuntimeError)
        _unloadable = kind(reason_of(error))


def _work(group: Sequence[Utterance], debug: bool) -> list[AlignedUtterance | Failure]:
    if _unloadable is not None:
        raise _unloadable
    assert _aligner is not None
    return list(aligned(_aligner, group, debug))


def _by_processes(
    groups: Sequence[Sequence[Utterance]],
    source: AlignerSource,
    devices: Sequence[str],
    debug: bool,
) -> Iterator[AlignedUtterance | Failure]:
    """Results as they come.  Those at work while a process is killed are tried again, one after the other."""
    suspects: list[Utterance] = []
    left = [list(group) for group in groups]
    alone = False
    while left:
        done: set[str] = set()
        try:
            for result in _pooled(left, source, devices[:1] if alone else devices, debug):
                done.add(result.id)
                yield result
            left = []
        except _KilledError as killed:
            if alone:
                yield from (_failure(one, _MEMORY) for one in killed.at_work)
            else:
                suspects += killed.at_work
            gone = done | {one.id for one in killed.at_work}
            left = [group for group in left if group[0].id not in gone]
        if not left and not alone:
            left, alone = [[one] for one in suspects], True


class _KilledError(Exception):
    """A process died."""

    def __init__(self, at_work: list[Utterance]) -> None:
        super().__init__()
        self.at_work = at_work


def _pooled(
    groups: Sequence[list[Utterance]], source: AlignerSource, devices: Sequence[str], debug: bool
) -> Iterator[AlignedUtterance | Failure]:
    context = get_context("spawn")
    queue = context.SimpleQueue()
    for device in devices:
        queue.put(device)
    threads = max(_cores() // len(devices), 1)
    waiting = iter(groups)
    with ProcessPoolExecutor(
        len(devices), context, initializer=_start, initargs=(source, queue, threads)
    ) as pool:
        running: dict[Future[list[AlignedUtterance | Failure]], list[Utterance]] = {}

        def fill() -> None:
            # Not all at once: what is submitted counts as at work when a process dies.
            while len(running) < len(devices) and (group := next(waiting, None)) is not None:
                try:
                    running[pool.submit(_work, group, debug)] = group
                except BrokenProcessPool:  # a process has died since the last result
                    at_work = [one for others in running.values() for one in others]
                    raise _KilledError(at_work) from None

        fill()
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                group = running.pop(future)
                try:
                    results = future.result()
                except BrokenProcessPool:
                    at_work = [one for others in (group, *running.values()) for one in others]
                    raise _KilledError(at_work) from None
                yield from results
            fill()
