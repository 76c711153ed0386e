"""Synthetic corpora on the disk: shards spoken by worker processes, complete or absent."""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from espnet_ottc.synthesis.layout_ami import AmiLayout
from espnet_ottc.synthesis.layout_folder import FolderLayout
from espnet_ottc.synthesis.layout_timit import TimitLayout
from espnet_ottc.synthesis.layouts import Layout, LibriSpeechLayout, SessionSummary
from espnet_ottc.synthesis.sentences import load_grammar
from espnet_ottc.synthesis.synthetic import SetPlan, Shard, shards_of, synthesise
from espnet_ottc.utils.files import folder_written_aside
from espnet_ottc.utils.lifetime import end_with
from espnet_ottc.utils.progress import progress

LAYOUTS: dict[str, Layout] = {
    "ami": AmiLayout(),
    "folder": FolderLayout(),
    "librispeech": LibriSpeechLayout(),
    "timit": TimitLayout(),
}

_README = """\
This is SYNTHETIC speech, not the corpus whose directory layout it has.
No result on it says anything about that corpus.

Sentences of a small grammar ({vocabulary} words), spoken by espeak-ng (package
espeakng-loader {loader}) with a noise floor, at 16 kHz; written by espnet_ottc.
Words are timed by the synthesiser to the sample.
No sentence is in two of the roles training, development and test; two test
speakers are not heard in training.

Layout {layout}, seed {seed}.

{table}
"""


def build_corpus(
    plan: tuple[SetPlan, ...], *, layout: str, out: Path, seed: int = 0, nj: int = 1
) -> tuple[SessionSummary, ...]:
    """Speak a corpus and write it; labels and times are the same for any `nj`.

    Written to a folder beside `out`, which takes its place when it is whole.

    Args:
        plan: the sets.
        layout: a key of `LAYOUTS`.
        out: the corpus directory to make; must not exist or be empty.
        seed: other seeds give other sentences, prosody and noise from the same speakers.
        nj: worker processes.

    Raises:
        FileExistsError: `out` holds something.
        ImportError: the extra `[synth]` is not installed.
        RuntimeError: a worker process died.
        ValueError: an unknown layout, no sets, or `nj` below 1.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {sorted(LAYOUTS)}, got {layout!r}")
    if nj < 1:
        raise ValueError(f"nj must be at least 1, got {nj}")
    shards = shards_of(plan, seed)
    if not shards:
        raise ValueError("a corpus must have sets, got none")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} must not exist or be an empty directory; remove it first")
    with folder_written_aside(out) as partial:
        sessions = _run(shards, layout, partial, nj)
        LAYOUTS[layout].write_tables(partial, sessions)
        text = _readme(sessions, layout, seed)
        (partial / "README.TXT").write_text(text, encoding="utf-8")
    return sessions


def _run(shards: Sequence[Shard], layout: str, root: Path, nj: int) -> tuple[SessionSummary, ...]:
    at_work: set[BaseProcess] = set()
    with ThreadPoolExecutor(nj) as threads:
        pending = [
            threads.submit(_in_fresh_process, shard, layout, root, at_work) for shard in shards
        ]
        bar = progress(pending, title="synthetic speech", unit="speaker")
        try:
            return tuple(future.result() for future in bar)
        except BaseException:
            for future in pending:
                future.cancel()
            # A shard takes minutes; another process may be about to start.
            while wait(pending, timeout=0.1).not_done:
                for process in list(at_work):
                    process.terminate()
            raise


def _in_fresh_process(
    shard: Shard, layout: str, root: Path, at_work: set[BaseProcess]
) -> SessionSummary:
    # The server that is forked has loaded the modules, never espeak-ng itself.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "soundfile", "soxr"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(there, shard, layout, root), daemon=True)
    process.start()
    at_work.add(process)
    there.close()
    try:
        answer: SessionSummary | Exception = here.recv()
    except EOFError:
        raise RuntimeError(
            f"set {shard.set_name}, speaker {shard.voice.speaker.id}: the process died; "
            "is there enough memory?"
        ) from None
    finally:
        here.close()
        process.join()
        at_work.discard(process)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(there: Connection, shard: Shard, layout: str, root: Path) -> None:
    # The server ends with the process that started it, however that one ends; so does this one.
    end_with(os.getppid())
    try:
        there.send(write_shard(shard, layout, root))
    except Exception as fault:
        there.send(fault)


def write_shard(shard: Shard, layout: str, root: Path) -> SessionSummary:
    """Speak and write one shard, in this process."""
    return LAYOUTS[layout].write_session(root, shard.set_name, synthesise(shard))


def _readme(sessions: Sequence[SessionSummary], layout: str, seed: int) -> str:
    return _README.format(
        vocabulary=len(load_grammar().vocabulary()),
        loader=version("espeakng-loader"),
        layout=layout,
        seed=seed,
        table=summary_table(sessions),
    )


def summary_table(sessions: Sequence[SessionSummary]) -> str:
    """A line for each set: speakers, utterances, words, hours."""
    lines = [f"{'set':18s}{'speakers':>9s}{'utterances':>12s}{'words':>9s}{'hours':>8s}"]
    for name in dict.fromkeys(item.set_name for item in sessions):
        rows = [item for item in sessions if item.set_name == name]
        lines.append(
            f"{name:18s}{len(rows):9d}{sum(row.utterances for row in rows):12d}"
            f"{sum(row.words for row in rows):9d}{sum(row.seconds for row in rows) / 3600:8.2f}"
        )
    return "\n".join(lines)
