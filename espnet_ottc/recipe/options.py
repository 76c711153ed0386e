"""The options of `run.sh`: every command of the recipe takes them as they were given."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.recipe.corpora import CORPORA, Corpus
from espnet_ottc.utils.training_checkpoints import DEFAULT_CHECKPOINT

LAST_STAGE = 11
# Utterances of a shard: fewer are not worth a process, which takes seconds to start.
LEAST = 200
# Decoders of all recipes; relative to one, as `run.sh` finds the stages.
SHARED_CONF = Path("../TEMPLATE/conf")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of `run.sh`; those of the command line where none are given.

    `--corpus`, which each recipe's `run.sh` gives, decides which corpus's options there are.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--corpus", choices=sorted(CORPORA), default="librispeech")
    known, rest = first.parse_known_args(arguments)
    return _parser(known.corpus).parse_args(rest)


def several(option: str, texts: Sequence[str]) -> list[str]:
    """One or more different words, whether they came quoted ("1 2") or apart.

    Raises:
        ValueError: none, or one twice.
    """
    words = split(texts)
    if not words or len(set(words)) < len(words):
        raise ValueError(f"{option} must be one or more different names, got {' '.join(words)!r}")
    return words


def numbers(option: str, texts: Sequence[str]) -> list[int]:
    """One or more different whole numbers, quoted or apart.

    Raises:
        ValueError: something else.
    """
    words = several(option, texts)
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"{option} must be whole numbers, got {' '.join(words)!r}")
    return [int(word) for word in words]


def split(texts: Sequence[str]) -> list[str]:
    """Words, whether they came quoted ("1 2") or apart."""
    return [word for text in texts for word in text.split()]


def _parser(corpus: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="./run.sh", allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.set_defaults(corpus=corpus, alignments=None, drop_bad_alignments=False)
    stages = options.add_argument_group("what to run")
    stages.add_argument("--stage", type=int, default=0, help="first stage")
    stages.add_argument("--stop_stage", type=int, default=LAST_STAGE, help="last stage")
    stages.add_argument("--systems", nargs="+", default=["ctc", "ottc"], metavar="SYSTEM",
                        help="train_<SYSTEM>.yaml of --conf, or of a folder that its base.yaml is "
                        "based on")  # fmt: skip
    stages.add_argument("--seed", nargs="+", default=["1"], help="one or several")
    stages.add_argument("--decoders", nargs="+", default=["viterbi"], metavar="DECODER",
                        help="decode_<DECODER>.yaml of --conf or, for all recipes, of "
                        f"{SHARED_CONF}; tables show the first one's words beside the times")  # fmt: skip
    _add_data_options(options.add_argument_group("data"), CORPORA[corpus])
    _add_training_options(options.add_argument_group("training and results"))
    return options


def _add_data_options(data: argparse._ArgumentGroup, corpus: Corpus) -> None:
    data.add_argument(f"--{corpus.option}", type=Path, dest="corpus_dir", metavar="DIR",
                      default=os.environ.get(corpus.variable) or None,
                      help=f"{corpus.contents}; none: speech is synthesised")  # fmt: skip
    data.add_argument("--train_set", help=corpus.train_set or "the official one; nothing else")
    data.add_argument("--eval_sets", nargs="+", metavar="PART",
                      help="sets to decode, align and score; none: all dev and test parts")  # fmt: skip
    corpus.add_options(data)
    for part, hours in zip(("", "dev_", "test_"), corpus.hours, strict=False):
        data.add_argument(f"--synthetic_{part}hours", metavar="HOURS",
                          help=f"speech to synthesise; none: {hours:g} hours")  # fmt: skip
    data.add_argument("--token_type", choices=["char", "bpe", "word"], default=corpus.token_type,
                      help="tokens; word: also phones, where they are the text")  # fmt: skip
    data.add_argument("--nbpe", type=_positive, default=corpus.nbpe,
                      help="size of the BPE vocabulary")  # fmt: skip
    data.add_argument("--datadir", type=Path, default=Path("data"), help="prepared data")


def _add_training_options(training: argparse._ArgumentGroup) -> None:
    training.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder of YAMLs")
    training.add_argument("--expdir", type=Path, default=Path("exp"), help="trainings and results")
    training.add_argument("--ngpu", type=_count, default=0, help="GPUs for a training")
    training.add_argument("--nproc", type=_positive, metavar="N",
                          help="processes of a training on each machine; none: one for each GPU")  # fmt: skip
    training.add_argument("--cluster", type=Path, metavar="FILE",
                          help="YAML of the cluster that works (docs/howto/clusters.md); none: this "
                          "machine")  # fmt: skip
    training.add_argument("--nj", type=_positive, default=os.cpu_count() or 1,
                          help="cores of this machine for everything else, a process each")  # fmt: skip
    training.add_argument("--shard_utts", type=_positive, metavar="N",
                          help="utterances that a process of stages 2, 4, 6 and 8 to 10 goes through; none: "
                          f"an equal share for each of the --nj, at least {LEAST}. Results do not "
                          "depend on it")  # fmt: skip
    training.add_argument("--train_nj", type=_positive, default=1,
                          help="trainings at a time, each with its own cores and GPUs")  # fmt: skip
    training.add_argument("--shar", metavar="DIR",
                          help="folder or URL with a folder of Lhotse Shar for each set, by name, in the "
                          "order of its cuts: stages 2 to 9 read audio from these, as streams")  # fmt: skip
    training.add_argument("--train_args", default="", help="more of asr_train's options, quoted")
    training.add_argument("--inference_model", default=DEFAULT_CHECKPOINT,
                          help="parameters to decode with; none: the mean of the best epochs")  # fmt: skip
    training.add_argument("--teacher_text", type=Path, nargs="+", metavar="FILE",
                          help="text for the language model that teaches the `..._transfer` systems, "
                          "a sentence a line, as in transcripts; none: those of the training")  # fmt: skip
    training.add_argument("--teacher_steps", type=_positive, default=2000,
                          help="updates of its training")  # fmt: skip
    training.add_argument("--ali_system", default="ctc", metavar="SYSTEM",
                          help="whose forced alignment `label_weights: ali` and single_path train on, "
                          "and `--reference forced` scores against")  # fmt: skip
    training.add_argument("--ali_from", type=Path, metavar="MODEL",
                          help="a CTC experiment (a folder, or parameters with config.yaml beside "
                          "them) that aligns instead of --ali_system")  # fmt: skip
    training.add_argument("--ctc_aligner", choices=["auto", "k2", "torchaudio"], default="auto",
                          help="package that aligns with CTC models; auto: k2, else torchaudio")  # fmt: skip
    training.add_argument("--reference", choices=["annotation", "forced"], default="annotation",
                          help="word times to score against: the corpus's own, or the forced "
                          "alignment of --ali_system (then in results_by_<SYSTEM>.jsonl, "
                          "RESULTS_by_<SYSTEM>.md)")  # fmt: skip
    training.add_argument("--inner_times", type=Path, metavar="DIR",
                          help="a second, inner reference, DIR/<set>.ctm: a boundary between both has no "
                          "error")  # fmt: skip
    training.add_argument("--other_times", type=Path, metavar="DIR",
                          help="times of other tools, DIR/<tool>/<set>.ctm with the recipe's utterance ids: "
                          "each tool gets rows in the tables")  # fmt: skip
    training.add_argument("--markdown", type=Path,
                          help="where the table goes; none: RESULTS.md in --expdir")  # fmt: skip


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {text}")
    return number
