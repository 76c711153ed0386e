"""A trained model: what it says about recordings, and where the words of texts lie in them."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from espnet2.asr.ctc import CTC
from espnet2.tasks.asr import ASRTask
from espnet2.utils.types import humanfriendly_parse_size_or_none
from lhotse.cut import Cut
from torch import Tensor, nn

import espnet_ottc.espnet.register  # noqa: F401
from espnet_ottc.alignment.aligners import Aligner, ctc_aligner, make_aligner
from espnet_ottc.alignment.spans import FrameGrid
from espnet_ottc.alignment.writing import Times
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.criteria.base import BLANK, Criterion
from espnet_ottc.espnet.criteria.sequence import Labels, SequenceCriterion
from espnet_ottc.espnet.cut_alignment import (
    AlignedCut,
    CutAlignments,
    TextOf,
    aligned_cuts,
    transcript,
)
from espnet_ottc.espnet.decoding.inference import best_path_hypotheses, greedy_hypotheses
from espnet_ottc.espnet.encoders.frame_grid import frame_grid
from espnet_ottc.ops.greedy_decoding import greedy_labels
from espnet_ottc.ops.transport import frame_weights
from espnet_ottc.utils.progress import progress
from espnet_ottc.utils.training_checkpoints import DEFAULT_CHECKPOINT

DECODERS = {"best_path": best_path_hypotheses, "greedy": greedy_hypotheses}


@dataclass(frozen=True)
class Posteriors:
    """What a model says about a batch of utterances.

    Attributes:
        log_probs: (B, T, V) float32 log-probabilities of each frame.
        alpha: (B, T) float32 frame weights, sum 1 over the valid frames; None for a model without them.
        lengths: (B,) int64 valid frames.
        frame_scores: (B, T) float32 whose softmax over the valid frames is α; None for a model without.
        encoded: (B, T, D) the encoder's output.
        grid: where frames lie in time (seconds from the start of the cut).
    """

    log_probs: Tensor
    alpha: Tensor | None
    frame_scores: Tensor | None
    lengths: Tensor
    encoded: Tensor
    grid: FrameGrid


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

    def __init__(
        self, directory: str | Path, checkpoint: str = DEFAULT_CHECKPOINT, device: str = "cpu"
    ) -> None:
        self.directory = Path(directory)
        with (self.directory / "config.yaml").open(encoding="utf-8") as file:
            self.args = argparse.Namespace(**yaml.safe_load(file))
        _find_files(self.args, self.directory)
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
        self._preprocess = ASRTask.build_preprocess_fn(self.args, False)

    @property
    def sampling_rate(self) -> int:
        """Hz that the frontend was configured for (ESPnet's default is 16000)."""
        rate = (getattr(self.args, "frontend_conf", None) or {}).get("fs", 16000)
        return int(humanfriendly_parse_size_or_none(str(rate)))

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
        """Name of the aligner that suits: Viterbi for OTTC's label sequences, forced alignment for CTC's."""
        if self.aligns_sequences:
            return "viterbi"
        return ctc_aligner("auto")

    def align(
        self,
        cuts: Iterable[Cut],
        aligners: Mapping[str, Aligner] | None = None,
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
            aligners = {self.default_aligner: make_aligner(self.default_aligner)}
        if title is not None:
            cuts = progress(cuts, title=title, unit="utterance")
        result = CutAlignments({name: Times() for name in aligners})
        for found in self.aligned(cuts, aligners, text=text):
            result.add(found)
        return result

    def aligned(
        self, cuts: Iterable[Cut], aligners: Mapping[str, Aligner], *, text: TextOf = transcript
    ) -> Iterator[AlignedCut]:
        """The utterances of `align` one after the other, for sets that do not fit into memory."""
        return aligned_cuts(self, cuts, aligners, text)

    @torch.no_grad()
    def posteriors(self, cuts: Sequence[Cut]) -> Posteriors:
        """Run the model on a batch of cuts.

        Args:
            cuts: one or more mono cuts with recordings; resampled where their rate is another.

        Raises:
            ValueError: no cut, or one with several channels; it names the cut.
        """
        if not cuts:
            raise ValueError("posteriors need at least one cut, got none")
        return self.posteriors_of([self._samples(cut) for cut in cuts])

    @torch.no_grad()
    def posteriors_of(self, waveforms: Sequence[Tensor]) -> Posteriors:
        """Run the model on a batch of waveforms: (N,) samples each, in [-1, 1], at `sampling_rate`."""
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        batch = nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True)
        encoded, frames = self.model.encode(batch.to(self.device), lengths.to(self.device))
        if isinstance(encoded, tuple):  # with the outputs of intermediate layers
            encoded = encoded[0]
        scores = alpha = None
        if isinstance(self.criterion, SequenceCriterion):
            scores = self.criterion.frame_scores(encoded)
            alpha = self.criterion.alpha(encoded, frames)
        if isinstance(self.criterion, Criterion) and not self.learnt_a_ctc_path:
            # Not log_softmax, which is for CTC's search.
            log_probs = self.criterion.frame_log_probs(encoded)
        else:
            log_probs = self.criterion.log_softmax(encoded).float()
        return Posteriors(log_probs, alpha, scores, frames.long(), encoded, self.grid)

    @torch.no_grad()
    def recognise(self, found: Posteriors, decoder: str = "best_path") -> list[str]:
        """What was said in each utterance.

        Args:
            found: of a batch.
            decoder: `greedy` or `best_path`, as `asr_inference` has them.

        Raises:
            ValueError: another decoder, or a model that was trained without ESPnet's preprocessor.
        """
        if decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}; got {decoder!r}")
        ids, counts = DECODERS[decoder](self.criterion, found.encoded, found.lengths)
        rows = zip(ids.tolist(), counts.tolist(), strict=True)
        return [self.text_of(row[:count]) for row, count in rows]

    @torch.no_grad()
    def labels_said(
        self, log_probs: Tensor, frame_scores: Tensor | None, decoder: str = "best_path"
    ) -> list[int]:
        """Token ids of what was said in one utterance, from `Posteriors` of its frames.

        Args:
            log_probs: (T, V).
            frame_scores: (T,), or None.
            decoder: `greedy` or `best_path`.
        """
        lengths = torch.tensor([len(log_probs)])
        if not isinstance(self.criterion, Criterion):
            ids, counts = greedy_labels(log_probs.argmax(1)[None], None, lengths, blank=BLANK)
        else:
            alpha = None if frame_scores is None else frame_weights(frame_scores[None], lengths)
            rule = (
                self.criterion.best_path_of if decoder == "best_path" else self.criterion.greedy_of
            )
            ids, counts = rule(log_probs[None], alpha, lengths)
        return [int(token) for token in ids[0, : int(counts[0])]]

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

    def _samples(self, cut: Cut) -> Tensor:
        if cut.sampling_rate != self.sampling_rate:
            cut = cut.resample(self.sampling_rate)
        audio = np.atleast_2d(cut.load_audio())
        if len(audio) != 1:
            raise ValueError(f"{cut.id}: the cut must have one channel, got {len(audio)}")
        return torch.from_numpy(np.ascontiguousarray(audio[0], dtype=np.float32))


def _find_files(args: argparse.Namespace, directory: Path) -> None:
    """Let relative paths of a configuration mean what they did where the training was started.

    That was the current directory or, so that a model can be used from elsewhere, one above the model's.
    """

    def found(path: str) -> str:
        if Path(path).exists():  # absolute ones too
            return path
        places = (parent / path for parent in directory.resolve().parents)
        return str(next((place for place in places if place.exists()), path))

    if getattr(args, "bpemodel", None):
        args.bpemodel = found(args.bpemodel)
    conf = getattr(args, "normalize_conf", None) or {}
    if "stats_file" in conf:
        args.normalize_conf = {**conf, "stats_file": found(conf["stats_file"])}


def _load(model: nn.Module, path: Path) -> None:
    state = load_parameters(path)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ValueError(
            f"{path}: the parameters must be those of config.yaml's model; missing: {missing[:5]}, "
            f"unknown: {unexpected[:5]}"
        )
