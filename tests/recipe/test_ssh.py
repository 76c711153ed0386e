"""Units of work on machines that are reached by SSH; a server of the tests stands for them."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from espnet_ottc.recipe.clusters import Clusters, Need
from espnet_ottc.recipe.engine import Engine
from espnet_ottc.recipe.units import Unit

asyncssh = pytest.importorskip("asyncssh")
# Interpreters of workers have to start.
pytestmark = pytest.mark.slow


async def _work(process) -> None:
    """What a server does with a command; it does not end it where the connection is lost."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    local = await asyncio.create_subprocess_shell(process.command, **pipes)

    async def hand_on(said, sink) -> None:
        async for line in said:
            # After the connection has gone nobody hears it.
            with contextlib.suppress(OSError):
                sink.write(line.decode())

    await asyncio.gather(
        hand_on(local.stdout, process.stdout), hand_on(local.stderr, process.stderr)
    )
    process.exit(await local.wait())


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server on this machine, to which anyone may connect."""

    class Open(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    key = asyncssh.generate_private_key("ssh-ed25519")

    working = []

    async def work(process) -> None:
        done = asyncio.Event()
        working.append(done)
        try:
            await _work(process)
        finally:
            done.set()

    async def listen():
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Open, server_host_keys=[key], process_factory=work
        )

    async def end() -> None:
        # All that was started has to end by itself.
        await asyncio.wait_for(asyncio.gather(*(done.wait() for done in working)), 300)
        server.close()
        await server.wait_closed()

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    yield server.get_port()
    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def cluster(port, tmp_path) -> Path:
    """Two hosts."""
    connect = {"port": port, "username": "anyone", "known_hosts": None, "client_keys": None}
    content = {"cluster": "ssh", "hosts": ["127.0.0.1", "localhost"], "cores": 1}
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump({**content, "options": {"connect_options": connect}}))
    return path


def test_units_run_on_each_host(cluster, tmp_path):
    code = "import os, time; print(os.getppid()); open(sys.argv[1], 'w').close()"
    wait = "\nwhile not os.path.exists(sys.argv[2]): time.sleep(0.05)"
    units = [
        Unit(
            name,
            (sys.executable, "-c", f"import sys; {code}{wait}", f"{name}.here", f"{other}.here"),
            tmp_path / f"{name}.log",
            tmp_path,
        )
        # Each waits for the other, which runs at the same time only elsewhere.
        for name, other in (("one", "two"), ("two", "one"))
    ]
    engine = Engine(Clusters(cluster), Need())
    try:
        threads = [threading.Thread(target=engine.run, args=(unit,)) for unit in units]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        engine.close()
    parents = {(tmp_path / f"{unit.key}.log").read_text().split()[-1] for unit in units}
    assert len(parents) == 2


def test_what_runs_there_ends_with_who_wanted_it(cluster, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from espnet_ottc.recipe.clusters import Clusters, Need\n"
        "from espnet_ottc.recipe.engine import Engine\n"
        "from espnet_ottc.recipe.units import Unit\n"
        "here = Path(sys.argv[1])\n"
        "unit = Unit('long', ('sleep', '7231'), here / 'long.log', here)\n"
        "Engine(Clusters(here / 'cluster.yaml'), Need()).run(unit)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path]) as process:
        while not _sleepers():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 300
    while _sleepers():
        assert time.monotonic() < end
        time.sleep(0.2)


def _sleepers() -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes() == b"sleep\x007231\x00":
                found.append(folder.name)
    return found
