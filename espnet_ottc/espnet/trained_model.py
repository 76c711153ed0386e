"""A trained model: what it says about recordings, and where the words of texts lie in them."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from espnet2.asr.ctc import CTC
from espnet2.tasks.asr import ASRTask
from lhotse.cut import Cut
from torch import Tensor, nn

import espnet_ottc.espnet.register  # noqa: F401
from espnet_ottc.alignment.aligners import BOUNDARY, Aligner, ctc_aligner, make_aligner
from espnet_ottc.alignment.boundary.model import BoundaryModel
from espnet_ottc.alignment.cut_sound import cut_sound
from espnet_ottc.alignment.windows import FrameOutputs, Windows, check_length, frame_outputs
from espnet_ottc.alignment.writing import Times
from espnet_ottc.espnet.as_trained import AsTrained
from espnet_ottc.espnet.boundary_head import BoundaryHead
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.criteria.base import BLANK, Criterion
from espnet_ottc.espnet.criteria.sequence import Labels, SequenceCriterion
from espnet_ottc.espnet.cut_alignment import (
    AlignedCut,
    BoundarySearch,
    CutAlignments,
    TextOf,
    aligned_cuts,
    transcript,
)
from espnet_ottc.espnet.encoders.frame_grid import frame_grid, sampling_rate_of
from espnet_ottc.ops.greedy_decoding import greedy_labels
from espnet_ottc.ops.viterbi_decoding import check_decoder
from espnet_ottc.utils.progress import progress
from espnet_ottc.utils.training_checkpoints import DEFAULT_CHECKPOINT


class TrainedModel:
    """A model that `espnet_ottc.bin.asr_train` trained, with CTC or OTTC.

    Args:
        directory: ESPnet's output directory, with `config.yaml`.
        checkpoint: name of a parameter file in it.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        FileNotFoundError: no such file.
        ValueError: a checkpoint that holds more than tensors, or lacks parameters of the configured model
            (ESPnet itself would go on with random ones); a model without CTC or OTTC.
    """

    # See `FrameModel`: stretches of one length alone come together.
    pads = False

    def __init__(
        self, directory: str | Path, checkpoint: str = DEFAULT_CHECKPOINT, device: str = "cpu"
    ) -> None:
        self.directory = Path(directory)
        with (self.directory / "config.yaml").open(encoding="utf-8") as file:
            self.args = argparse.Namespace(**yaml.safe_load(file))
        _find_files(self.args, self.directory)
        self.sampling_rate = sampling_rate_of(self.args)
        self.device = torch.device(device)
        self.model = ASRTask.build_model(self.args)
        _load(self.model, self.directory / checkpoint)
        self.model.to(self.device).eval()
        if not isinstance(getattr(self.model, "ctc", None), CTC):
            raise ValueError(
                f"{self.directory}: the model has neither CTC nor OTTC (ctc_weight: 0)"
            )
        self.criterion: CTC = self.model.ctc
        self.token_list: list[str] = list(self.model.token_list)
        self.grid = frame_grid(self.model, self.sampling_rate)
        self.stride = round(self.grid.shift * self.sampling_rate)
        self.least_samples = self.stride
        self._as_trained = AsTrained.of(self.model, self.sampling_rate)
        head = getattr(self.model, "boundary_head", None)
        self.boundary_model: BoundaryModel | None = (
            head.model() if isinstance(head, BoundaryHead) else None
        )
        self._preprocess = ASRTask.build_preprocess_fn(self.args, False)

    @property
    def token_type(self) -> str:
        """char, bpe, word or phn, as it was trained."""
        return str(self.args.token_type)

    @property
    def blank(self) -> int:
        """Id of the blank."""
        return BLANK

    @property
    def boundary(self) -> int | None:
        """Id of the boundary label; None where the criterion has none."""
        return self.criterion.boundary if isinstance(self.criterion, SequenceCriterion) else None

    @property
    def null(self) -> int | None:
        """Id of the label of frames that belong to none; None where every frame has one, and for CTC."""
        return self.criterion.null if isinstance(self.criterion, SequenceCriterion) else None

    @property
    def unaligned(self) -> int | None:
        """Id of the token that texts have and label sequences have not; None where there is none."""
        return self.criterion.unaligned if isinstance(self.criterion, SequenceCriterion) else None

    @property
    def learnt_a_ctc_path(self) -> bool:
        """Whether it is OTTC on label sequences with CTC's optional blanks (`label_weights: ali`).

        A text gives neither those blanks nor their weights: then texts are aligned as with CTC.
        """
        options = getattr(self.criterion, "options", None)
        return getattr(options, "label_weights", None) == "ali"

    @property
    def aligns_sequences(self) -> bool:
        """Whether each label of a text has frames of its own, as OTTC's have; CTC's blanks are optional."""
        return isinstance(self.criterion, SequenceCriterion) and not self.learnt_a_ctc_path

    @property
    def default_aligner(self) -> str:
        """Name of the aligner that suits: the boundary head's where there is one, else `label_aligner`."""
        return self.label_aligner if self.boundary_model is None else BOUNDARY

    @property
    def label_aligner(self) -> str:
        """Without a boundary head: Viterbi for OTTC's label sequences, forced alignment for CTC's."""
        if self.aligns_sequences:
            return "viterbi"
        return ctc_aligner("auto")

    def aligner(self, name: str) -> Aligner | BoundarySearch:
        """One of its aligners.

        Args:
            name: `boundary`, or a key of `espnet_ottc.alignment.aligners.ALIGNERS`.

        Raises:
            ValueError: an unknown name, or `boundary` without a boundary head.
        """
        if name != BOUNDARY:
            return make_aligner(name)
        if self.boundary_model is None:
            raise ValueError(f"{self.directory}: the model has no boundary head")
        return BoundarySearch(self.boundary_model)

    def align(
        self,
        cuts: Iterable[Cut],
        aligners: Mapping[str, Aligner | BoundarySearch] | None = None,
        *,
        text: TextOf = transcript,
        title: str | None = None,
    ) -> CutAlignments:
        """Times of the tokens and words of texts in recordings.

        Args:
            cuts: mono cuts with recordings; resampled where their rate is another.
            aligners: by the name of their results; None: `default_aligner` under that name.
            text: gives each cut's, which may be what the model recognises; by default the cut's own.  A
                text without tokens has no spans.
            title: of a progress bar; None: no bar.

        Raises:
            ValueError: what the model or an aligner refuses; it names the utterance.
        """
        if aligners is None:
            aligners = {self.default_aligner: self.aligner(self.default_aligner)}
        if title is not None:
            cuts = progress(cuts, title=title, unit="utterance")
        result = CutAlignments({name: Times() for name in aligners})
        for found in self.aligned(cuts, aligners, text=text):
            result.add(found)
        return result

    def aligned(
        self,
        cuts: Iterable[Cut],
        aligners: Mapping[str, Aligner | BoundarySearch],
        *,
        text: TextOf = transcript,
    ) -> Iterator[AlignedCut]:
        """The utterances of `align` one after the other, for sets that do not fit into memory."""
        return aligned_cuts(self, cuts, aligners, text)

    def posteriors(self, cuts: Sequence[Cut], windows: Windows | None = None) -> list[FrameOutputs]:
        """What the model says about the frames of cuts, by windows where they are long.

        Args:
            cuts: mono, with recordings; resampled where their rate is another.
            windows: how they are cut; None takes the default.

        Raises:
            ValueError: a cut with several channels, or without a frame; it names the cut.
        """
        samples = [self.samples(cut) for cut in cuts]
        return frame_outputs(self, samples, windows)

    def prepare(self, samples: Tensor) -> Tensor:
        """As the training would have had them, see `AsTrained`; as they are where it left no statistics."""
        return samples if self._as_trained is None else self._as_trained(samples)

    @torch.no_grad()
    def outputs(self, stretches: Sequence[Tensor]) -> list[FrameOutputs]:
        """One pass over stretches of one length: (N,) samples each, in [-1, 1], at `sampling_rate`.

        ESPnet's features and some of its encoders hear padding, so that others would depend on the batch.
        """
        batch = torch.stack(list(stretches)).to(self.device)
        lengths = torch.full((len(batch),), batch.shape[1], device=self.device)
        encoded, frames = self.model.encode(batch, lengths)
        if isinstance(encoded, tuple):  # with the outputs of intermediate layers
            encoded = encoded[0]
        scores = None
        if isinstance(self.criterion, SequenceCriterion):
            scores = self.criterion.frame_scores(encoded)
        if isinstance(self.criterion, Criterion) and not self.learnt_a_ctc_path:
            # Not log_softmax, which is for CTC's search.
            log_probs = self.criterion.frame_log_probs(encoded)
        else:
            log_probs = self.criterion.log_softmax(encoded)
        return [
            FrameOutputs(
                log_probs[b, :count].float().cpu(),
                None if scores is None else scores[b, :count].float().cpu(),
            )
            for b, count in enumerate(frames.tolist())
        ]

    @torch.no_grad()
    def recognise(self, found: FrameOutputs, decoder: str = "viterbi") -> str:
        """What was said in an utterance.

        Args:
            found: of its frames.
            decoder: `viterbi` or `greedy`, as `asr_inference` has them.

        Raises:
            ValueError: another decoder, or a model that was trained without ESPnet's preprocessor.
        """
        check_decoder(decoder)
        log_probs, lengths = found.log_probs[None], torch.tensor([len(found.log_probs)])
        if isinstance(self.criterion, Criterion):
            alpha = None if found.alpha is None else found.alpha[None]
            greedy, viterbi = self.criterion.greedy_of, self.criterion.viterbi_of
            ids, counts = (viterbi if decoder == "viterbi" else greedy)(log_probs, alpha, lengths)
        else:
            ids, counts = greedy_labels(log_probs.argmax(2), None, lengths, blank=BLANK)
        return self.text_of(ids[0, : int(counts[0])].tolist())

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text that token ids spell.

        Raises:
            ValueError: a model that was trained without ESPnet's preprocessor.
        """
        tokenizer = self._texts().tokenizer
        return str(tokenizer.tokens2text([self.token_list[token] for token in tokens]))

    def token_ids(self, text: str, utterance: str = "") -> list[int]:
        """Ids of a text's tokens, as in training (cleaner, tokenizer, token list).

        Args:
            text: transcript.
            utterance: id for error messages.

        Raises:
            ValueError: the model was trained without ESPnet's preprocessor.
        """
        ids = self._texts()(utterance, {"text": text})["text"]
        return [int(token) for token in ids]

    def labels(self, token_ids: Sequence[Sequence[int]]) -> Labels:
        """Label sequences with weights as the criterion trains on them.

        For CTC, and OTTC on a CTC path, the tokens themselves.
        """
        lengths = torch.tensor([len(ids) for ids in token_ids], device=self.device)
        padded = torch.full((len(token_ids), int(lengths.max())), BLANK, device=self.device)
        for row, ids in zip(padded, token_ids, strict=True):
            row[: len(ids)] = torch.tensor(ids, device=self.device)
        if not isinstance(self.criterion, SequenceCriterion) or self.learnt_a_ctc_path:
            return Labels(padded, lengths, None)
        with torch.no_grad():
            return self.criterion.labels_of_text(padded, lengths)

    def _texts(self) -> Any:
        """ESPnet's preprocessor, which turns texts into tokens."""
        if self._preprocess is None:
            raise ValueError(
                f"{self.directory}: trained with use_preprocessor: false, texts have no tokens"
            )
        return self._preprocess

    def samples(self, cut: Cut) -> Tensor:
        """(N,) samples of a mono cut at `sampling_rate`.

        Raises:
            ValueError: several channels, or audio that cannot be read.
        """
        if cut.sampling_rate != self.sampling_rate:
            cut = cut.resample(self.sampling_rate)
        audio = cut_sound(cut)
        if len(audio) != 1:
            raise ValueError(f"{cut.id}: the cut must have one channel, got {len(audio)}")
        samples = torch.from_numpy(np.ascontiguousarray(audio[0], dtype=np.float32))
        try:
            check_length(self, samples)
        except ValueError as error:
            raise ValueError(f"{cut.id}: {error}") from error
        return samples


def _find_files(args: argparse.Namespace, directory: Path) -> None:
    """Let relative paths of a configuration mean what they did where the training was started.

    That was the current directory or, so that a model can be used from elsewhere, one above the model's.

    Raises:
        FileNotFoundError: the statistics for normalising are in none of them.
    """

    def found(path: str) -> Path | None:
        places = (parent / path for parent in (Path(), *directory.resolve().parents))
        return next((place for place in places if place.exists()), None)

    # Some tokenizers have a name in its place.
    if getattr(args, "bpemodel", None):
        args.bpemodel = str(found(args.bpemodel) or args.bpemodel)
    conf = getattr(args, "normalize_conf", None) or {}
    if "stats_file" in conf:
        path = found(conf["stats_file"])
        if path is None:
            raise FileNotFoundError(
                f"{directory / 'config.yaml'} names {conf['stats_file']}, which lies neither in the current "
                "folder nor in one above the model's; copy it to such a place under the same name"
            )
        args.normalize_conf = {**conf, "stats_file": str(path)}


def _load(model: nn.Module, path: Path) -> None:
    state = load_parameters(path)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"{path}: the parameters must be those of config.yaml's model; missing: {missing[:5]}, "
            f"unknown: {unexpected[:5]}"
        )
