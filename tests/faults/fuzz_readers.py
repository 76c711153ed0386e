"""Feeds every reader mutated files: each is read, or refused by one clear error of a documented kind.

    python tests/faults/fuzz_readers.py --cases 10000

A file that makes a reader fail otherwise is written to `corpus/<reader>/`; the test suite reads these
again.  Cases are by seed: the same numbers are the same files.
"""

import argparse
import faulthandler
import hashlib
import os
import re
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from mutations import mutated
from readers import DOCUMENTED, Reader, readers

from espnet_ottc.utils.commands import message_of

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 20.0  # of one file; more means that a reader hangs


class ReaderError(Exception):
    """A reader did neither of the two things that it may do."""


def check(reader: Reader, content: bytes) -> bool:
    """Feed a reader one file.

    Args:
        reader: to try.
        content: of its file.

    Returns:
        Whether it was read.

    Raises:
        ReaderError: an error of another kind, one that does not say which file, a hang.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = reader.path(Path(folder), content)
        began = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.read(path)
        except DOCUMENTED as fault:
            text = message_of(fault)
            # Without it nobody finds the file.
            names = not reader.named or folder in str(fault) or Path(reader.name).stem in str(fault)
            if not text or not names:
                raise ReaderError(f"does not name the file: {text!r}") from fault
            return False
        except Exception as fault:
            raise ReaderError(f"{type(fault).__name__}: {str(fault)[:300]}") from fault
        finally:
            if time.monotonic() - began > SECONDS:
                raise ReaderError(f"took {time.monotonic() - began:.0f} s")
    return True


def cases(reader: Reader, first: int, count: int) -> Iterator[bytes]:
    """Mutated files of a reader.

    Args:
        reader: whose samples they are made from.
        first: seed of the first.
        count: how many.
    """
    for seed in range(first, first + count):
        yield mutated(reader.samples[seed % len(reader.samples)], seed)


def corpus(name: str) -> list[Path]:
    """The files that once made a reader fail.

    Args:
        name: of the reader.
    """
    return sorted((CORPUS / name).glob("*"))


def main() -> int:
    """Fuzz as the command line says; the exit status is 1 if a reader failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000, help="files for each reader")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", choices=readers(), default=list(readers()))
    options = parser.parse_args()
    faulthandler.enable()
    # A file that makes a reader ask for all memory ends in an error, not in the machine's end.
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    os.environ["OMP_NUM_THREADS"] = "1"
    failed = 0
    for name in options.readers:
        reader, read, kinds = readers()[name], 0, set()
        for content in cases(reader, options.first_seed, options.cases):
            try:
                read += check(reader, content)
            except ReaderError as fault:
                kind = re.sub(r"/\S*|\d+|'.*", "", str(fault))[:40]
                if kind not in kinds:
                    kinds.add(kind)
                    file = CORPUS / name / hashlib.sha256(content).hexdigest()[:16]
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)
                    print(f"{name}: {fault} ({file})", flush=True)
        failed += len(kinds)
        print(f"{name}: {options.cases} files, {read} read, {len(kinds)} faults", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
