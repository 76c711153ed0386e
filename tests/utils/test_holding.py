"""A lock has one holder, who is named."""

import os
import signal
import subprocess
import sys

import pytest

from espnet_ottc.utils.holding import hold

HOLDER = """
import sys, time
from pathlib import Path
from espnet_ottc.utils.holding import hold

with hold(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(120)
"""


def test_the_second_is_told_who_holds_it_and_a_killed_holder_leaves_it_free(tmp_path):
    lock = tmp_path / "folder" / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"

        def refuse(who):
            raise ValueError(who)

        with pytest.raises(ValueError, match=rf"^process {holder.pid} on "), hold(lock, refuse):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with hold(lock, refuse):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
