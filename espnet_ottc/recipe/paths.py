"""Where the files of a run lie: the data folder, the experiment folder, and all that is in them.

Nothing else in the recipe puts together a name of a file that a stage leaves for another, or for a reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.recipe.results import suffix_of


def synthetic_corpus(hours: Mapping[str, str]) -> Path:
    """The folder of a corpus that is synthesised.

    Args:
        hours: of speech, by the name of the option without `--synthetic_`; those of each name are a
            corpus of their own.
    """
    return Path("downloads", "-".join(["synthetic", *(f"{name}{n}" for name, n in hours.items())]))


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
    def logs(self) -> Path:
        """Logs of what belongs to no single training."""
        return self.expdir / "logs"

    @property
    def replaced(self) -> Path:
        """Where trainings go whose inputs have changed."""
        return self.expdir / ".replaced"

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
        return self.experiment(system, seed) / f"decode_{decoder}" / set_name

    def aligned(self, system: str, seed: int, decoder: str, set_name: str) -> Path:
        """Times that a decoder in time found in a set."""
        return self.experiment(system, seed) / f"align_{decoder}" / set_name

    def frames(self, system: str, seed: int, set_name: str) -> Path:
        """The label of each frame of a set, and the durations of its utterances."""
        return self.experiment(system, seed) / "frames" / set_name

    def reference(self, set_name: str, seed: int) -> Path:
        """The reference word times of a set: the corpus's, or a system's forced alignment."""
        if self.reference_system is None:
            return self.annotation(set_name)
        return self.aligned(self.reference_system, seed, "forced_align", set_name) / "words.ctm"

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

    def mark(self, *names: str) -> Path:
        """The done-mark of a step on experiments."""
        return self.expdir.joinpath(".marks", *names[:-1], f"{names[-1]}.json")
