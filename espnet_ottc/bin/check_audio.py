"""Read and decode the audio of a part of a manifest: what the recipe's stage 2 hands to a worker."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.utils.commands import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="check_audio", description=__doc__)
    parser.add_argument("--cuts", type=Path, required=True, help="the manifest")
    parser.add_argument("--shar", metavar="DIR", help="a stream with the manifest's audio")
    parser.add_argument("--first", type=int, required=True, help="place of the first cut")
    parser.add_argument("--stop", type=int, required=True, help="place after the last")
    parser.add_argument("--out", type=Path, required=True, help="folder for what was found")
    options = parser.parse_args(arguments)
    return run(lambda: _check(options))


def _check(options: argparse.Namespace) -> None:
    from espnet_ottc.corpora.manifests import AUDIO_PROBLEMS, audio_problems_of

    def done(count: int) -> None:
        print(f"checked: {count}", flush=True)

    found = audio_problems_of(
        options.cuts, shar=options.shar, first=options.first, stop=options.stop, done=done
    )
    with (options.out / AUDIO_PROBLEMS).open("w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(problem)}\n" for problem in found)


if __name__ == "__main__":
    raise SystemExit(main())
