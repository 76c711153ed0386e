"""Score a set: what the recipe's stage 10 hands to a worker.

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
    options = parser.parse_args(arguments)
    return run(lambda: _score(options.job))


def _score(path: Path) -> None:
    from espnet_ottc.alignment.scoring.jobs import ScoringJob
    from espnet_ottc.utils.json_files import read_json_object

    ScoringJob.of(read_json_object(path)).run()


if __name__ == "__main__":
    raise SystemExit(main())
