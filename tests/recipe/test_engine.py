"""Units of work: what they get, what they leave, and what happens when one is lost."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espnet_ottc.recipe import clusters, jobs
from espnet_ottc.recipe.clusters import Clusters, Need
from espnet_ottc.recipe.engine import TRIES, Engine
from espnet_ottc.recipe.marks import StepError
from espnet_ottc.recipe.units import FOLDER, Unit


@pytest.fixture
def engine(monkeypatch):
    """Two cores and three GPUs of this machine."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,9")
    engine = Engine(Clusters(), Need(cores=2, gpus=3))
    yield engine
    engine.close()


def unit(directory: Path, code: str, *words: str, name: str = "unit", **settings) -> Unit:
    """A unit that runs Python code."""
    command = (sys.executable, "-c", code, *words)
    return Unit(name, command, directory / f"{name}.log", directory, **settings)


def test_a_unit_says_what_it_says_in_its_log_and_to_who_watches(engine, tmp_path):
    seen = []
    engine.run(unit(tmp_path, "print('one'); print('two')"), seen.append)
    command, *said = (tmp_path / "unit.log").read_text().splitlines()
    assert command.startswith("# ")
    assert said == ["one", "two"]
    assert [line.strip() for line in seen] == [command, *said]


def test_a_command_that_fails_is_not_tried_again_and_its_end_is_shown(engine, tmp_path):
    code = "import sys; print('why'); sys.exit(3)"
    with pytest.raises(StepError, match=r"status 3; the end of .*unit.log:\nwhy"):
        engine.run(unit(tmp_path, code))
    assert (tmp_path / "unit.log").read_text().splitlines()[1:] == ["why"]


def test_a_unit_that_a_signal_ends_is_tried_again(engine, tmp_path, capsys):
    code = """
import os, pathlib, signal
first = not pathlib.Path("seen").exists()
pathlib.Path("seen").touch()
os.kill(os.getpid(), signal.SIGKILL) if first else print("through")
"""
    engine.run(unit(tmp_path, code))
    assert (tmp_path / "unit.log").read_text().endswith("through\n")
    said = capsys.readouterr().out
    assert "unit: a signal ended it" in said
    assert re.search(r"unit: done in \d+ s", said)


@pytest.mark.parametrize(("gets_on", "attempts"), [(0, 1 + TRIES), (2, 3 + TRIES)])
def test_it_is_tried_three_times_without_getting_on(engine, tmp_path, gets_on, attempts):
    calls = []

    def got_on() -> bool:
        calls.append(1)
        return 1 < len(calls) <= 1 + gets_on

    code = "import os, signal; print('here', flush=True); os.kill(os.getpid(), signal.SIGTERM)"
    with pytest.raises(StepError, match=f"after {TRIES} tries more"):
        engine.run(unit(tmp_path, code), on_retry=got_on)
    lines = (tmp_path / "unit.log").read_text().splitlines()
    assert lines.count("here") == attempts


def test_units_wait_for_their_cores(engine, tmp_path):
    code = """
import pathlib, sys, time
busy = pathlib.Path("busy")
busy.mkdir()  # fails where another is there
time.sleep(0.3)
busy.rmdir()
"""
    units = [unit(tmp_path, code, name=f"u{n}", cores=2) for n in range(3)]
    jobs.run_parallel(engine.run, units)


def test_more_threads_than_cores_take_all_there_are(engine, tmp_path):
    engine.run(unit(tmp_path, "", cores=64))


def test_units_at_the_same_time_have_gpus_of_their_own(engine, tmp_path):
    code = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(os.environ["CUDA_VISIBLE_DEVICES"])
while len(list(pathlib.Path().glob("gpus*"))) < 2:
    time.sleep(0.02)
"""
    units = [unit(tmp_path, code, f"gpus{n}", name=f"u{n}", gpus=n) for n in (1, 2)]
    jobs.run_parallel(engine.run, units)
    given = [(tmp_path / f"gpus{n}").read_text().split(",") for n in (1, 2)]
    assert [len(names) for names in given] == [1, 2]
    assert sorted(given[0] + given[1]) == ["5", "7", "9"]


def test_a_folder_appears_once_its_unit_has_succeeded(engine, tmp_path):
    folder = tmp_path / "shards" / "0-16"
    code = """
import pathlib, sys
out = pathlib.Path(sys.argv[1])
(out / "half").touch()
assert out.name != "0-16" and sys.argv[2] == "well"
"""
    with pytest.raises(StepError):
        engine.run(unit(tmp_path, code, FOLDER, "ill", folder=folder))
    assert list(folder.parent.iterdir()) == []
    engine.run(unit(tmp_path, code, FOLDER, "well", folder=folder))
    assert [path.name for path in folder.iterdir()] == ["half"]


def test_a_log_that_cannot_be_written_is_named(engine, tmp_path):
    (tmp_path / "unit.log").mkdir()
    with pytest.raises(StepError, match=r"unit\.log cannot be written"):
        engine.run(unit(tmp_path, ""))


def test_nobody_who_wants_it_any_more_ends_a_unit(engine, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(120)"
    pids: list[int] = []

    def watch(line: str) -> None:
        if not line.startswith("#"):
            pids.append(int(line))

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(engine.run, unit(tmp_path, code), watch)
        end = time.monotonic() + 60
        while not pids and time.monotonic() < end:
            time.sleep(0.05)
        engine.end()
        with pytest.raises(StepError, match="ended"):
            future.result(60)
    end = time.monotonic() + 60
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pids[0]}").exists()


def test_words_stand_in_front_of_every_command_and_its_cores_are_its_threads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("decode_cmd", "env MARK='two words'")
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['MARK'])"
    try:
        jobs.run_logged([sys.executable, "-c", code], Path("log"), cores=3)
    finally:
        jobs.use(Clusters(), cores=1, gpus=0, trainings=1, threads=1)
    assert Path("log").read_text().endswith("3 two words\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- slurm", "must be a mapping"),
        ("cluster: [", "must be YAML"),
        ("cluster: lurm", "cluster must be one of slurm, pbs, sge, lsf, ssh, address, got 'lurm'"),
        ("{cluster: slurm, worker: 2}", "unknown keys worker"),
        ("{cluster: slurm, workers: 0}", "workers must be a number of at least 1, got 0"),
        ("{cluster: slurm, train: {cores: many}}", "cores must be a number"),
        ("{cluster: address}", "address belongs to"),
        ("{cluster: slurm, options: 3}", "options must be a mapping"),
        ("{cluster: pbs, nodes: 2}", "nodes above 1 need cluster: slurm, got pbs"),
        ("{cluster: ssh}", "cluster: ssh needs hosts"),
        ("{cluster: ssh, hosts: [a], workers: 2}", "cluster: ssh needs hosts"),
        ("{cluster: ssh, hosts: a}", "hosts must be a list of names, got 'a'"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(tmp_path, text, message):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Clusters(path)


def test_what_differs_for_trainings_wins(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("{cluster: slurm, workers: 4, cores: 8, train: {workers: 2, gpus: 1}}")
    named = Clusters(path)
    assert named.workers("").resources == {"cores": 8}
    trains = named.workers("train")
    assert (trains.workers, trains.resources) == (2, {"cores": 8, "gpus": 1})
    with pytest.raises(ValueError, match="workers of 8 cores cannot run a unit of 9 threads"):
        named.fitting(9, Need("train"))


def test_a_queue_leaves_signals_to_the_command(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text("cluster: slurm")
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from espnet_ottc.recipe.clusters import Clusters\n"
        "before = signal.signal(signal.SIGINT, lambda *_: None)\n"
        "ours = signal.getsignal(signal.SIGINT)\n"
        "Clusters(Path(sys.argv[1])).prepare()\n"
        "assert 'dask_jobqueue' in sys.modules\n"
        "assert signal.getsignal(signal.SIGINT) is ours\n"
    )
    pytest.importorskip("dask_jobqueue")
    subprocess.run([sys.executable, "-c", code, path], check=True)


@pytest.mark.parametrize("installed", [True, False])
def test_a_cluster_s_dashboard_is_named_where_it_can_be_shown(
    tmp_path, monkeypatch, capsys, installed
):
    from distributed import LocalCluster

    path = tmp_path / "cluster.yaml"
    path.write_text("cluster: slurm")
    asked = []
    monkeypatch.setattr(clusters, "find_spec", lambda name: asked.append(name) or installed or None)
    monkeypatch.setattr(
        clusters,
        "_queue",
        lambda _: LocalCluster(n_workers=0, processes=False, dashboard_address="localhost:0"),
    )
    with Clusters(path).open(Need()):
        said = capsys.readouterr().out
    assert asked == ["bokeh"]
    assert re.fullmatch(
        r"  the cluster's dashboard: http://\S+:\d+/status\n" if installed else "", said
    )


def test_units_run_by_a_scheduler_that_runs_already(tmp_path):
    from distributed import LocalCluster

    path = tmp_path / "cluster.yaml"
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, resources={"cores": 1}
    ) as cluster:
        path.write_text(f"{{cluster: address, address: '{cluster.scheduler_address}'}}")
        engine = Engine(Clusters(path), Need())
        try:
            engine.run(unit(tmp_path, "print('there')"))
            worker = next(iter(cluster.workers.values())).worker_address
            assert worker
        finally:
            engine.close()
    assert (tmp_path / "unit.log").read_text().endswith("there\n")


def test_a_lost_worker_s_units_are_tried_again(tmp_path):
    """A worker of its own process dies in the middle; its nanny starts another."""
    import dask
    from distributed import LocalCluster

    code = """
import os, pathlib, signal, time
if not pathlib.Path("seen").exists():
    pathlib.Path("seen").touch()
    lifetime = os.getppid()
    os.kill(lifetime, signal.SIGKILL)
    time.sleep(60)
print("through")
"""
    path = tmp_path / "cluster.yaml"
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, resources={"cores": 1}
        ) as cluster,
    ):
        path.write_text(f"{{cluster: address, address: '{cluster.scheduler_address}'}}")
        engine = Engine(Clusters(path), Need())
        try:
            engine.run(unit(tmp_path, code))
        finally:
            engine.close()
    assert (tmp_path / "unit.log").read_text().endswith("through\n")


@pytest.mark.slow
def test_units_go_on_after_their_run_was_suspended(tmp_path):
    """As by Ctrl-Z, or a laptop that sleeps, for longer than a worker may be silent."""
    code = """
import pathlib, time
print("on", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.1)
"""
    script = f"""
import sys
from pathlib import Path
from espnet_ottc.recipe.clusters import Clusters, Need
from espnet_ottc.recipe.engine import Engine
from espnet_ottc.recipe.units import Unit
engine = Engine(Clusters(), Need())
folder = Path({str(tmp_path)!r})
command = (sys.executable, "-c", {code!r})
engine.run(Unit("unit", command, folder / "unit.log", folder), lambda line: print(line, flush=True))
engine.close()
print("through", flush=True)
"""
    environ = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environ
    ) as run:
        try:
            assert any(line.strip() == "on" for line in run.stdout)
            run.send_signal(signal.SIGSTOP)
            time.sleep(10)
            run.send_signal(signal.SIGCONT)
            # Its scheduler has looked for workers again.
            time.sleep(2)
            (tmp_path / "go").touch()
            said, _ = run.communicate(timeout=120)
        finally:
            run.kill()
    assert said.endswith("through\n")
