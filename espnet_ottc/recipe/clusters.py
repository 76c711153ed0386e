"""The clusters that units of work run on: this machine, or what the YAML of `--cluster` names.

    cluster: slurm            # also pbs, sge, lsf; or ssh, address
    workers: 4                # jobs of the cluster at a time, each with one worker
    cores: 8                  # of a worker
    gpus: 1                   # of a worker
    nodes: 1                  # of a worker's job: trainings by several machines; slurm alone
    options: {...}            # what else dask-jobqueue's class takes, such as walltime and memory
    train: {workers: 2, ...}  # what differs for trainings (stages 5 and 7)

With `ssh` there are `hosts`, with a worker each, instead of `workers`.  With `address` there is the address
of a scheduler that runs already, and nothing else.
"""

import logging
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from espnet_ottc.utils.commands import say
from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    from distributed import Client
    from distributed.deploy.cluster import Cluster

# Classes of dask-jobqueue.
_QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
_SSH, _ADDRESS = "ssh", "address"
_KINDS = (*_QUEUES, _SSH, _ADDRESS)
_KEYS = {"cluster", "workers", "cores", "gpus", "nodes", "options", "hosts", "address"}
# A worker whose scheduler does not answer for so long ends.
_DEATH_SECONDS = 60
TRAINING = "train"


@dataclass(frozen=True)
class Need:
    """What one stage asks of its workers.

    Attributes:
        kind: the part of the YAML that is for it; empty: the YAML's own.
        cores: of this machine, where no cluster is named.
        gpus: the same.
    """

    kind: str = ""
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    gpus: int = 0


@dataclass(frozen=True)
class Workers:
    """The workers that a YAML asks for.

    Attributes:
        cluster: one of slurm, pbs, sge, lsf, ssh, address.
        workers: how many, each a job of the cluster, or on a host of its own.
        cores: of each.
        gpus: of each.
        nodes: machines of a worker's job, the first of which it runs on.
        options: for the class that makes the cluster.
        hosts: that are reached by SSH.
        address: of a scheduler that runs.
    """

    cluster: str
    workers: int = 1
    cores: int = 1
    gpus: int = 0
    nodes: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    address: str | None = None

    @property
    def resources(self) -> dict[str, int]:
        """Of a worker, as the engine counts them."""
        return {"cores": self.cores} | ({"gpus": self.gpus} if self.gpus else {})


class Clusters:
    """This machine, or the cluster of a YAML.

    Args:
        path: the YAML; None: this machine.

    Raises:
        ValueError: a YAML that cannot be.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._content = None if path is None else _read(path)
        if self._content is not None:
            for kind in ("", TRAINING):
                self.workers(kind)

    @property
    def elsewhere(self) -> bool:
        """Whether units run on other machines than this one."""
        return self._content is not None

    def workers(self, kind: str) -> Workers:
        """What the YAML asks for.

        Args:
            kind: as in `Need`.

        Raises:
            ValueError: what cannot be.
        """
        assert self._content is not None
        content = {k: v for k, v in self._content.items() if k != TRAINING}
        content |= self._content.get(kind, {}) if kind else {}
        try:
            return _workers(content)
        except ValueError as fault:
            raise ValueError(f"{self.path}: {fault}") from fault

    def fitting(self, cores: int, need: Need) -> int:
        """The cores to ask for: all of a worker of this machine, where a unit wants more.

        Raises:
            ValueError: a worker of the cluster has fewer.
        """
        if self._content is None:
            return min(cores, need.cores)
        there = self.workers(need.kind)
        if there.cluster != _ADDRESS and cores > there.cores:
            raise ValueError(
                f"{self.path}: workers of {there.cores} cores cannot run a unit of {cores} threads "
                "(OMP_NUM_THREADS)"
            )
        return cores

    def prepare(self) -> None:
        """Import what the YAML needs; from the main thread, before any other opens the cluster.

        Raises:
            ImportError: it is not installed.
        """
        kinds = {self.workers(kind).cluster for kind in ("", TRAINING)} if self.elsewhere else set()
        if kinds & {_SSH, *_QUEUES}:
            require_extra("cluster", f"--cluster {self.path}")
        if not kinds & set(_QUEUES):
            return
        # At its import dask-jobqueue takes Ctrl-C for itself.
        before = signal.getsignal(signal.SIGINT)
        try:
            import dask_jobqueue  # noqa: F401
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def open(self, need: Need) -> "Iterator[Client]":
        """Start workers; they end with the context, and with this process however it ends.

        Args:
            need: what they are for.
        """
        import dask
        from distributed import Client

        logging.getLogger("distributed").setLevel(logging.ERROR)
        # Of a machine without a network, which needs none.
        warnings.filterwarnings("ignore", "Couldn't detect a suitable IP", RuntimeWarning)
        # What is lost is tried again by `Engine`, which knows whether it had got on.
        settings: dict[str, int | None] = {"distributed.scheduler.allowed-failures": 0}
        if self._content is None:
            # The worker is in this process.  When that is suspended for minutes, it is not lost.
            settings["distributed.scheduler.worker-ttl"] = None
        with dask.config.set(settings):
            if self._content is None:
                cluster = _this_machine(need)
            else:
                there = self.workers(need.kind)
                if there.address is not None:
                    with Client(there.address, set_as_default=False) as client:
                        yield client
                    return
                cluster = _by_ssh(there) if there.cluster == _SSH else _queue(there)
            try:
                with Client(cluster, set_as_default=False) as client:
                    _say_dashboard(client, self.elsewhere)
                    yield client
            finally:
                cluster.close()


def _this_machine(need: Need) -> "Cluster":
    from distributed import LocalCluster

    # One worker in this process, whose threads start the units: each is a process of its own.
    return LocalCluster(
        n_workers=1,
        threads_per_worker=need.cores,
        processes=False,
        memory_limit=None,
        # Any free port: several runs have one each.
        dashboard_address=":0",
        resources={"cores": need.cores, "gpus": need.gpus},
    )


def _queue(there: Workers) -> "Cluster":
    import dask_jobqueue

    options = dict(there.options)
    resources = ",".join(f"{name}={count}" for name, count in there.resources.items())
    extra = [*options.pop("worker_extra_args", []), "--resources", resources]
    if there.nodes > 1:
        directives = [f"--nodes={there.nodes}", "--ntasks-per-node=1"]
        options["job_extra_directives"] = [*options.get("job_extra_directives", []), *directives]
        # What dask-jobqueue writes of itself: one task.
        options["job_directives_skip"] = [*options.get("job_directives_skip", []), "-n 1"]
    cluster = getattr(dask_jobqueue, _QUEUES[there.cluster])(
        **{"memory": "4GB", "processes": 1, **options},
        cores=there.cores,
        worker_extra_args=extra,
    )
    # Not `scale`: a job that has ended is replaced.
    cluster.adapt(minimum_jobs=there.workers, maximum_jobs=there.workers, interval="2s")
    return cluster


def _by_ssh(there: Workers) -> "Cluster":
    from distributed import Scheduler, SpecCluster
    from distributed.deploy.ssh import Worker

    # As `distributed.SSHCluster`, but with the scheduler in this process, with which it ends.
    options = dict(there.options)
    scheduler = {"dashboard_address": ":0", "host": options.pop("scheduler_host", None)}
    worker = {"nthreads": there.cores, "resources": there.resources, "memory_limit": None}
    worker |= {"death_timeout": _DEATH_SECONDS, **options.pop("worker_options", {})}
    connect = options.pop("connect_options", {})
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": scheduler},
        workers={
            number: {
                "cls": Worker,
                "options": {
                    "address": host,
                    "connect_options": connect,
                    "kwargs": worker,
                    **options,
                },
            }
            for number, host in enumerate(there.hosts)
        },
    )


def _say_dashboard(client: "Client", elsewhere: bool) -> None:
    # Without bokeh there is only a page that says so.
    if elsewhere and find_spec("bokeh") and client.dashboard_link:
        say(f"  the cluster's dashboard: {client.dashboard_link}")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as fault:
        raise ValueError(f"{path}: must be YAML: {fault}") from fault
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a mapping, got {content!r}")
    if not isinstance(content.get(TRAINING, {}), dict):
        raise ValueError(f"{path}: {TRAINING} must be a mapping, got {content[TRAINING]!r}")
    return content


def _workers(content: Mapping[str, Any]) -> Workers:
    unknown = set(content) - _KEYS
    if unknown:
        raise ValueError(f"unknown keys {', '.join(sorted(unknown))}; there are {sorted(_KEYS)}")
    kind = content.get("cluster")
    if kind not in _KINDS:
        raise ValueError(f"cluster must be one of {', '.join(_KINDS)}, got {kind!r}")
    for name, least in (("workers", 1), ("cores", 1), ("gpus", 0), ("nodes", 1)):
        number = content.get(name, least)
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ValueError(f"{name} must be a number of at least {least}, got {number!r}")
    if not isinstance(content.get("options", {}), dict):
        raise ValueError(f"options must be a mapping, got {content['options']!r}")
    if (kind == _ADDRESS) != ("address" in content):
        raise ValueError("address belongs to cluster: address, and to nothing else")
    hosts = content.get("hosts", [])
    if not (isinstance(hosts, list) and all(isinstance(host, str) for host in hosts)):
        raise ValueError(f"hosts must be a list of names, got {hosts!r}")
    if (kind == _SSH) != bool(hosts) or (hosts and "workers" in content):
        raise ValueError("cluster: ssh needs hosts, with a worker each; others have workers")
    if content.get("nodes", 1) > 1 and kind != "slurm":
        raise ValueError(f"nodes above 1 need cluster: slurm, got {kind}")
    if hosts:
        content = {**content, "hosts": tuple(hosts), "workers": len(hosts)}
    return Workers(**content)
