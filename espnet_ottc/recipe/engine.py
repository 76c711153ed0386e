"""Where units of work run: on Dask's `distributed`, here or on a cluster that a YAML names.

The engine queues units, gives each its cores and GPUs, and notices when a worker is lost.  What is left to
do here is to try such a unit again, and to hand on what it says.
"""

import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.recipe.clusters import Clusters, Need
from espnet_ottc.recipe.marks import StepError
from espnet_ottc.recipe.units import Outcome, Unit, run_unit
from espnet_ottc.utils.commands import say

if TYPE_CHECKING:
    from distributed import Client, Future

# A unit whose worker is lost, or that a signal ended, is tried again so often without getting on.
TRIES = 3
_LOOK_SECONDS = 0.3


class EndedError(StepError):
    """A unit did not come to its end, since the run was ended or another unit failed."""


class Engine:
    """Runs units of one kind; its workers start with the first.

    Args:
        clusters: which clusters there are.
        need: what workers of this kind have.
    """

    def __init__(self, clusters: Clusters, need: Need) -> None:
        self._clusters = clusters
        self._need = need
        self._opened = ExitStack()
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._ending = False

    def run(
        self,
        unit: Unit,
        watch: Callable[[str], None] | None = None,
        on_retry: Callable[[], bool] | None = None,
    ) -> None:
        """Run a unit to its end; many threads may.

        Args:
            unit: what to run.
            watch: sees every line that it says.
            on_retry: called before it is tried again; whether it has got on since the last time.

        Raises:
            StepError: its command failed, or it was lost too often; with the end of what was said.
        """
        tries = 0
        while True:
            outcome = self._attempt(unit, watch)
            if outcome is not None and not outcome.interrupted:
                break
            if self._ending:
                raise EndedError(f"{unit.key}: ended")
            why = (
                "its worker was lost"
                if outcome is None
                else f"a signal ended it on {outcome.host} (status {outcome.status})"
            )
            if on_retry is not None and on_retry():
                tries = 0
            tries += 1
            if tries > TRIES:
                raise StepError(f"{unit.key}: {why}, after {TRIES} tries more; see {unit.log}")
            say(f"  {unit.key}: {why}; tried again")
        if outcome.status == 0 and not sys.stderr.isatty():
            # A terminal shows bars.
            where = f" on {outcome.host}" if self._clusters.elsewhere else ""
            say(f"  {unit.key}: done in {outcome.seconds:.0f} s{where}")
        if outcome.fault is not None:
            raise StepError(f"{outcome.fault}; its command was stopped")
        if outcome.status:
            raise StepError(
                f"a command failed with status {outcome.status}; the end of {unit.log}:\n{outcome.end}"
            )

    def end(self) -> None:
        """Let no other unit start, and end those that run."""
        self._ending = True

    def close(self) -> None:
        """Leave the cluster."""
        self._ending = True
        with self._lock:
            self._opened.close()

    def _attempt(self, unit: Unit, watch: Callable[[str], None] | None) -> Outcome | None:
        """One run of a unit; None where its worker was lost."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        client = self._started()
        if self._ending:
            raise EndedError(f"{unit.key}: ended")
        resources = {"cores": self._clusters.fitting(unit.cores, self._need)}
        if unit.gpus:
            resources["gpus"] = unit.gpus
        with _lines(unit.directory / unit.log, watch) as look:
            future = client.submit(
                run_unit,
                unit,
                key=f"{unit.key} ({uuid.uuid4().hex})",
                resources=resources,
                pure=False,
            )
            try:
                self._wait(future, look)
                outcome: Outcome = future.result()
            except (KilledWorker, FutureCancelledError):
                return None
        return outcome

    def _wait(self, future: "Future", look: Callable[[], None]) -> None:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        while not done.wait(_LOOK_SECONDS):
            look()
            if self._ending:
                future.cancel(force=True)

    def _started(self) -> "Client":
        with self._lock:
            if self._client is None:
                self._client = self._opened.enter_context(self._clusters.open(self._need))
            return self._client


@contextmanager
def _lines(log: Path, watch: Callable[[str], None] | None) -> Iterator[Callable[[], None]]:
    """Gives a function that hands on the whole lines that a log has got since it was called last."""
    if watch is None:
        yield lambda: None
        return
    seen = log.stat().st_size if log.exists() else 0

    def look() -> None:
        nonlocal seen
        if not log.exists():
            return
        with log.open("rb") as file:
            file.seek(seen)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        seen += len(whole)
        for line in whole.decode("utf-8", "replace").splitlines(keepends=True):
            watch(line)

    yield look
    look()
