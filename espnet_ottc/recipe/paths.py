"""Where the files of a run lie: the data folder, the experiment folder, and all that is in them.

Nothing else in the recipe puts together a name of a file that a stage leaves for another, or for a reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.utils.training_checkpoints import BOUNDARY_MODEL

# Folders of one training: `decode_<decoder>/<set>` and `align_<decoder>/<set>`.
DECODED = "decode_"
ALIGNED = "align_"
# What a model was trained with, beside its parameters.
PROVENANCE = "provenance.json"


def synthetic_corpus(hours: Mapping[str, str]) -> Path:
    """The folder of a corpus that is synthesised.

    Args:
        hours: of speech, by the name of the option without `--synthetic_`; those of each name are a
            corpus of their own.
    """
    return Path("downloads", "-".join(["synthetic", *(f"{name}{n}" for name, n in hours.items())]))


def suffix_of(reference_system: str | None) -> str:
    """Ends the names of files with scores against a system's forced alignment; else empty."""
    return "" if reference_system is None else f"_by_{reference_system}"


def score_file(reference_system: str | None = None) -> str:
    """The name of a score file; of times, with the system whose forced alignment they are scored against."""
    return f"score{suffix_of(reference_system)}.json"


def configuration_of(model: Path) -> Path:
    """ESPnet's configuration beside the parameters of a model."""
    return model.with_name("config.yaml")


def alignment_stream(folder: Path, set_name: str) -> Path:
    """The data stream `ali` of a set, in a folder of forced alignments."""
    return folder / set_name / "ali"


def made_for_file(folder: Path) -> Path:
    """What a data folder or a folder of experiments is made for."""
    return folder / ".made_for.json"


def provenance_of(model: Path) -> Path:
    """What a model was trained with, beside its parameters."""
    return model.with_name(PROVENANCE)


@dataclass(frozen=True)
class Paths:
    """The files of a run.

    Attributes:
        datadir: the data folder (`--datadir`).
        expdir: the folder of experiments (`--expdir`).
        token_type: char, bpe or word.
        nbpe: size of a BPE vocabulary.
        inference_model: name of the parameters to decode with.
        reference_system: whose forced alignment times are scored against; None: the corpus's own.
    """

    datadir: Path
    expdir: Path
    token_type: str
    nbpe: int
    inference_model: str
    reference_system: str | None = None

    # Data.

    @property
    def manifests(self) -> Path:
        """Folder of the manifests of all parts."""
        return self.datadir / "manifests"

    def cuts(self, set_name: str) -> Path:
        """The cuts of a set."""
        return self.datadir / set_name / "cuts.jsonl.gz"

    def text(self, set_name: str) -> Path:
        """The transcripts of a set."""
        return self.datadir / set_name / "text"

    def annotation(self, set_name: str) -> Path:
        """The word times of a set that came with the corpus, as far as it has any."""
        return self.datadir / set_name / "reference.ctm"

    @property
    def token_dir(self) -> Path:
        """Where the tokens lie; each size of a BPE vocabulary has its own folder."""
        name = f"bpe{self.nbpe}" if self.token_type == "bpe" else self.token_type
        return self.datadir / "token_list" / name

    @property
    def tokens(self) -> Path:
        """ESPnet's token list."""
        return self.token_dir / "tokens.txt"

    @property
    def bpe_model(self) -> Path | None:
        """SentencePiece's model; None for other tokens."""
        return self.token_dir / "bpe.model" if self.token_type == "bpe" else None

    # Trainings.

    @property
    def stats(self) -> Path:
        """Output of ESPnet's statistics."""
        return self.expdir / "stats"

    def lengths(self, part: str) -> Path:
        """ESPnet's shape file of `train` or `valid`: the length of each utterance."""
        return self.stats / part / "speech_shape"

    @property
    def unfinished_stats(self) -> Path:
        """Where ESPnet's statistics are put together, until they are complete."""
        return self.expdir / ".stats.partial"

    @property
    def stats_shards(self) -> Path:
        """Shards of the statistics, while they are collected, and their logs."""
        return self.expdir / "logs" / "stats"

    @property
    def feature_stats(self) -> Path:
        """Mean and variance of the training set's features, for ESPnet's `global_mvn`."""
        return self.stats / "train" / "feats_stats.npz"

    @property
    def teacher(self) -> Path:
        """The language model that the recipe trains to teach."""
        return self.expdir / "teacher" / "masked_lm.pth"

    @property
    def teacher_log(self) -> Path:
        """Log of its training."""
        return self.expdir / "teacher" / "train.log"

    def replaced(self, system: str, seed: int, stamp: str) -> Path:
        """Where a training goes whose inputs have changed; `stamp` says when."""
        return self.expdir / ".replaced" / f"{system}-seed{seed}-{stamp}"

    def configuration(self, system: str) -> Path:
        """What a system's YAML and its bases amount to now; trainings are made from it."""
        return self.expdir / ".configs" / f"{system}.yaml"

    def experiment(self, system: str, seed: int) -> Path:
        """ESPnet's output directory of one training."""
        return self.expdir / system / f"seed{seed}"

    def trained_on(self, system: str, seed: int) -> Path:
        """The configuration that one training was made from."""
        return self.experiment(system, seed) / "train.yaml"

    def model(self, system: str, seed: int) -> Path:
        """The parameters to decode with."""
        return self.experiment(system, seed) / self.inference_model

    def checkpoint(self, system: str, seed: int) -> Path:
        """ESPnet's parameters after the last epoch."""
        return self.experiment(system, seed) / "latest.pth"

    def boundary_model(self, system: str, seed: int) -> Path:
        """The boundary head of one training; there is none where it found no words."""
        return self.experiment(system, seed) / BOUNDARY_MODEL

    def train_log(self, system: str, seed: int) -> Path:
        """Log of one training."""
        return self.experiment(system, seed) / "train.log"

    def aligned_lengths(self, system: str, seed: int, part: str) -> Path:
        """The shape file of those utterances that have a forced alignment."""
        return self.experiment(system, seed) / "aligned" / part / "speech_shape"

    # Forced alignments to train on.

    @property
    def given_alignments(self) -> Path:
        """Alignments of the training data by the model of `--ali_from`."""
        return self.expdir / "ali_from"

    def own_alignments(self, system: str, seed: int) -> Path:
        """Alignments of the training data by one of the run's own systems."""
        return self.experiment(system, seed) / "ali"

    # Hypotheses and scores.

    def decoded(self, system: str, seed: int, decoder: str, set_name: str) -> Path:
        """Words that a decoder found in a set."""
        return self.experiment(system, seed) / f"{DECODED}{decoder}" / set_name

    def aligned(self, system: str, seed: int, decoder: str, set_name: str) -> Path:
        """Times that a decoder in time found in a set."""
        return self.experiment(system, seed) / f"{ALIGNED}{decoder}" / set_name

    def hypotheses(self, system: str, seed: int, decoder: str, set_name: str) -> Path:
        """The text that a decoder found in a set."""
        return self.decoded(system, seed, decoder, set_name) / "text"

    def word_times(self, system: str, seed: int, decoder: str, set_name: str) -> Path:
        """The word times that a decoder in time found in a set."""
        return self.aligned(system, seed, decoder, set_name) / "words.ctm"

    def frame_grid(self, system: str, seed: int) -> Path:
        """When the frames of a model's output are, in seconds."""
        return self.experiment(system, seed) / "frame_grid.json"

    def frame_labels(self, system: str, seed: int, set_name: str) -> Path:
        """The label of each frame of a set."""
        return self.experiment(system, seed) / "frames" / set_name / "labels"

    def durations(self, system: str, seed: int, set_name: str) -> Path:
        """The durations of a set's utterances, as long as the frames are."""
        return self.experiment(system, seed) / "frames" / set_name / "utt2dur"

    def cut_checks(self, set_name: str) -> Path:
        """Shards of the checks of a set's audio, while they last, and their logs."""
        return self.datadir / "logs" / f"cuts_{set_name}"

    def shards(self, system: str, seed: int, what: str) -> Path:
        """Shards of what is done with one training, while it is done, and their logs."""
        return self.experiment(system, seed) / "shards" / what

    def reference(self, set_name: str, seed: int) -> Path:
        """The reference word times of a set: the corpus's, or a system's forced alignment."""
        if self.reference_system is None:
            return self.annotation(set_name)
        return self.word_times(self.reference_system, seed, "forced_align", set_name)

    @property
    def suffix(self) -> str:
        """Ends the names of files with scores of times, so that no two references are mixed."""
        return suffix_of(self.reference_system)

    @property
    def results(self) -> Path:
        """The rows of all scores."""
        return self.expdir / f"results{self.suffix}.jsonl"

    @property
    def html(self) -> Path:
        """The report."""
        return self.expdir / f"report{self.suffix}.html"

    @property
    def markdown(self) -> Path:
        """The table, where no option says another place."""
        return self.expdir / f"RESULTS{self.suffix}.md"

    # Done-marks.

    def data_mark(self, name: str) -> Path:
        """The done-mark of a step on the data."""
        return self.datadir / ".marks" / f"{name}.json"

    def cuts_mark(self, set_name: str) -> Path:
        """The done-mark of a set's cuts."""
        return self.data_mark(f"cuts_{set_name}")

    @property
    def tokens_mark(self) -> Path:
        """The done-mark of the tokens."""
        return self.data_mark(f"tokens_{self.token_dir.name}")

    @property
    def stats_mark(self) -> Path:
        """The done-mark of ESPnet's statistics."""
        return self._mark("stats")

    @property
    def teacher_mark(self) -> Path:
        """The done-mark of the language model that teaches."""
        return self._mark("teacher")

    @property
    def given_alignments_mark(self) -> Path:
        """The done-mark of `given_alignments`."""
        return self._mark("ali_from")

    def own_alignments_mark(self, system: str, seed: int) -> Path:
        """The done-mark of `own_alignments`."""
        return self._mark(system, f"seed{seed}", "ali")

    def train_mark(self, system: str, seed: int) -> Path:
        """The done-mark of one training."""
        return self._mark(system, f"seed{seed}", "train")

    def decode_mark(self, system: str, seed: int, decoder: str, set_name: str) -> Path:
        """The done-mark of what `decoded` has."""
        return self._mark(system, f"seed{seed}", f"{DECODED}{decoder}", set_name)

    def align_mark(self, system: str, seed: int, set_name: str) -> Path:
        """The done-mark of a set's alignments by all decoders in time that a model has."""
        return self._mark(system, f"seed{seed}", "align", set_name)

    def score_mark(self, system: str, seed: int, folder: Path, suffix: str) -> Path:
        """The done-mark of the scores of what `decoded` or `aligned` gives as `folder`."""
        return self._mark(system, f"seed{seed}", f"score{suffix}_{folder.parent.name}", folder.name)

    def _mark(self, *names: str) -> Path:
        """The done-mark of a step on experiments."""
        return self.expdir.joinpath(".marks", *names[:-1], f"{names[-1]}.json")
