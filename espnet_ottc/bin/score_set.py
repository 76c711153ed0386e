"""Score some parts of a set: what the recipe's stage 10 hands to a worker.

`ottc-score-words` and `ottc-score-times` are the commands for users.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="score_set", description=__doc__)
    parser.add_argument("--job", type=Path, required=True, help="what to score, as JSON")
    parser.add_argument("--parts", type=int, required=True, help="into which the set is divided")
    parser.add_argument("--first", type=int, required=True, help="part, from 0")
    parser.add_argument("--stop", type=int, required=True, help="behind the last part")
    parser.add_argument("--out", type=Path, required=True, help="folder for a file of each part")
    options = parser.parse_args(arguments)
    return run(lambda: _score(options))


def _score(options: argparse.Namespace) -> None:
    from espnet_ottc.alignment.scoring.jobs import ScoringJob
    from espnet_ottc.alignment.scoring.part_files import write_part
    from espnet_ottc.utils.json_files import read_json_object

    job = ScoringJob.of(read_json_object(options.job))
    count = job.counter()
    parts = job.parts(options.parts)
    for number, part in list(enumerate(parts))[options.first : options.stop]:
        write_part(options.out / f"{number:09d}.npz", count(part))


if __name__ == "__main__":
    raise SystemExit(main())
