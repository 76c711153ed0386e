"""Times of words in recordings, by a trained model.

    ottc-align --model exp/ottc/seed1 --audio a.wav b.flac --out times
    ottc-align --model exp/ottc/seed1 --cuts cuts.jsonl.gz --text text --out times

Without --text or --transcripts the model recognises what is said.  Writes `text`, `words.ctm`, `tokens.ctm`,
`words.jsonl.gz` (Lhotse supervisions), `textgrid/` and `infeasible`, the utterances without times, each with
the reason.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from espnet_ottc.alignment.aligners import ALIGNERS, make_aligner
from espnet_ottc.alignment.formats import read_text, write_columns
from espnet_ottc.alignment.writing import write_times
from espnet_ottc.utils.commands import UserError, log_to, quiet_imports, run, say
from espnet_ottc.utils.extras import require_extra

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut

    from espnet_ottc.espnet.trained_model import Posteriors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 1 too where an utterance got no times."""
    options = _parser().parse_args(arguments)
    return run(lambda: align(options))


def align(options: argparse.Namespace) -> None:
    """Align as the options say.

    Raises:
        FileNotFoundError: recordings, cuts or a model that are not there.
        ValueError: options or texts that do not fit them, or what the model or the aligner refuses.
        UserError: utterances without times, once those of the others are written.
    """
    require_extra("espnet", "ottc-align", ("espnet2", "lhotse"))
    cuts = _cuts(options)
    texts = None if options.text is None else _texts(options.text, cuts)
    log_to(options.out / "align.log")
    # Late, since ESPnet takes long to import.
    with quiet_imports():
        from espnet_ottc.espnet.cut_alignment import transcript
        from espnet_ottc.espnet.trained_model import DEFAULT_CHECKPOINT, TrainedModel

        path = options.model
        checkpoint = path / DEFAULT_CHECKPOINT if path.is_dir() else path
        model = TrainedModel(checkpoint.parent, checkpoint.name, options.device)
    name = options.aligner or model.default_aligner

    def text_of(cut: "Cut", posteriors: "Posteriors") -> str:
        if texts is not None:
            return texts[cut.id]
        if options.transcripts:
            return transcript(cut, posteriors)
        return model.recognise(posteriors, options.decoder)[0]

    aligned = model.align(cuts, {name: make_aligner(name)}, text=text_of, title="align")
    times = aligned.times[name]
    write_columns(options.out / "text", {u: text.split() for u, text in aligned.texts.items()})
    write_times(options.out, times, aligned.durations)
    words = sum(map(len, times.words.values()))
    say(f"{words} words of {len(times.words)} utterances, by {name}: {options.out / 'words.ctm'}")
    if times.infeasible:
        utterance, why = next(iter(times.infeasible.items()))
        raise UserError(
            f"{len(times.infeasible)} of {len(aligned.texts)} utterances have no times "
            f"({options.out / 'infeasible'}), the first is {utterance}: {why}"
        )


def _cuts(options: argparse.Namespace) -> "CutSet":
    from lhotse import CutSet, Recording

    if options.cuts is not None:
        if not options.cuts.is_file():
            raise FileNotFoundError(f"--cuts: there is no {options.cuts}")
        cuts = CutSet.from_file(options.cuts)
        if options.transcripts:
            for cut in cuts:
                if len(cut.supervisions) != 1:
                    raise ValueError(
                        f"{cut.id}: --transcripts needs one supervision of each cut, got "
                        f"{len(cut.supervisions)}"
                    )
        return cuts
    if options.transcripts:
        raise ValueError("--transcripts are those of --cuts; recordings have none")
    found: dict[str, Recording] = {}
    for path in options.audio:
        if not path.is_file():
            raise FileNotFoundError(f"--audio: there is no {path}")
        if path.stem in found:
            raise ValueError(f"{path}: another recording is called {path.stem} too")
        found[path.stem] = Recording.from_file(path, recording_id=path.stem)
    return CutSet.from_cuts(recording.to_cut().with_id(name) for name, recording in found.items())


def _texts(path: Path, cuts: "CutSet") -> Mapping[str, str]:
    texts = {name: " ".join(words) for name, words in read_text(path).items()}
    for cut in cuts:
        if cut.id not in texts:
            raise ValueError(f"{cut.id}: {path} must have its text")
    return texts


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="ottc-align",
        description="Times of words in recordings: of those that a trained model recognises, or of a text.",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    options.add_argument("--model", type=Path, required=True,
                         help="ESPnet's output directory of a training with CTC or OTTC (then its "
                         "valid.loss.best.pth), or parameters with config.yaml beside them")  # fmt: skip
    speech = options.add_mutually_exclusive_group(required=True)
    speech.add_argument("--audio", type=Path, nargs="+", metavar="FILE",
                        help="recordings of one channel; a file's name without suffix is its id")  # fmt: skip
    speech.add_argument("--cuts", type=Path, help="Lhotse manifest")
    words = options.add_mutually_exclusive_group()
    words.add_argument("--text", type=Path, help="Kaldi text (id word word ...) to align")
    words.add_argument("--transcripts", action="store_true", help="align the cuts' own texts")
    options.add_argument("--decoder", choices=["best_path", "greedy"], default="best_path",
                         help="how words are recognised; no difference for CTC")  # fmt: skip
    options.add_argument("--aligner", choices=sorted(ALIGNERS),
                         help="by default viterbi for OTTC, k2 or torchaudio for CTC")  # fmt: skip
    options.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    options.add_argument("--out", type=Path, required=True, help="folder for the results")
    return options


if __name__ == "__main__":
    sys.exit(main())
