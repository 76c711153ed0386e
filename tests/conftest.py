"""What holds for every test: where kernels run, and that a test is the same in every run.

Where there is no GPU, Triton's kernels run in its interpreter; that is chosen before their import.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# A machine under load is slow; new examples are for a search (--hypothesis-profile=search), not for a gate.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", patient)
settings.register_profile("gate", patient, derandomize=True)
settings.load_profile("gate")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], str]]:
    """Copies a folder's files to a bucket of S3, on a server of this machine; gives its URL."""
    moto = pytest.importorskip("moto.server", reason="s3:// needs moto[server], boto3 and s3fs")
    boto3 = pytest.importorskip("boto3", reason="s3:// needs boto3")
    s3fs = pytest.importorskip("s3fs", reason="s3:// needs s3fs")
    pytest.importorskip("smart_open", reason="URLs need smart_open")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # It remembers the server of another test.
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        client = boto3.client("s3")
        client.create_bucket(Bucket="speech")

        def copied(folder: Path) -> str:
            name = f"{folder.parent.name}/{folder.name}"
            for path in folder.iterdir():
                client.upload_file(str(path), "speech", f"{name}/{path.name}")
            return f"s3://speech/{name}"

        yield copied
    finally:
        server.stop()
