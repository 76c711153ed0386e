"""The transfer loss of a model: what joins adapter, teacher and transport."""

import json
from collections.abc import Sequence
from pathlib import Path

from espnet2.asr.ctc import CTC
from torch import Tensor

from espnet_ottc.espnet.transfer.adapter import Captured
from espnet_ottc.espnet.transfer.options import TransferOptions
from espnet_ottc.espnet.transfer.order import frame_positions
from espnet_ottc.espnet.transfer.spelling import Spelling
from espnet_ottc.espnet.transfer.teachers import Represented, Teacher, load_teacher
from espnet_ottc.ops.transfer import Matcher, TransferLosses, transfer_losses
from espnet_ottc.ops.unbalanced_order import order_cost
from espnet_ottc.utils.files import write_json

TEACHER_FILE = "teacher.json"


class Transfer:
    """The loss, and its teacher once a training begins.

    It is no module, and so no part of a model's parameters.

    Args:
        options: of the transfer.
        token_list: the recogniser's tokens.
    """

    def __init__(self, options: TransferOptions, token_list: Sequence[str]) -> None:
        self.options = options
        self.token_list = list(token_list)
        self.spelling = Spelling(token_list)
        self.teacher: Teacher | None = None
        self.active = options.after_epoch == 0
        self.matcher = Matcher(
            matching=options.matching,
            reg=options.reg,
            reg_m_frames=options.reg_m_frames,
            reg_m_tokens=options.reg_m_tokens,
            reference=options.reference,
            max_iter=options.max_iter,
            gradient=options.plan_gradient,
        )

    def set_epoch(self, epoch: int) -> None:
        """Tell it which epoch of training begins, counted from 1."""
        self.active = epoch > self.options.after_epoch

    def prepare(self, size: int) -> None:
        """Load the teacher, whose states must have this size.

        Raises:
            OSError, ValueError, ImportError: as `load_teacher`.
        """
        self.teacher = load_teacher(self.options, self.token_list, size)

    def losses(
        self, captured: Captured, criterion: CTC | None, tokens: Tensor, lengths: Tensor
    ) -> TransferLosses:
        """Both losses by utterance, and what is logged.

        Args:
            captured: the adapter's frames.
            criterion: in CTC's place.
            tokens: (B, U) ids of the text, padded with anything.
            lengths: (B,).

        Raises:
            RuntimeError: there is no teacher.
            ValueError: an utterance with a text and no frame.
        """
        if self.teacher is None:
            raise RuntimeError(
                "the transfer loss has no teacher: ESPnet's training loads it, and who trains otherwise has "
                "to call model.prepare_transfer() first"
            )
        taught = self.teacher.represent(tokens, lengths)
        return transfer_losses(
            captured.hidden,
            taught.states,
            captured.lengths,
            taught.lengths,
            self.matcher,
            order=self._order(captured, criterion, tokens, lengths, taught),
        )

    def _order(
        self,
        captured: Captured,
        criterion: CTC | None,
        tokens: Tensor,
        lengths: Tensor,
        taught: Represented,
    ) -> Tensor | None:
        options = self.options
        if options.order == "none" or options.order_weight == 0:
            return None
        places = frame_positions(
            options.order,
            criterion,
            captured.encoded,
            captured.lengths,
            tokens,
            lengths,
            spelling=self.spelling,
        )
        # From characters to tokens of the teacher.
        token = (taught.extents / taught.lengths.clamp(min=1)).clamp(min=1)[:, None]
        return options.order_weight * order_cost(places / token, taught.middles / token)


def weighted(losses: TransferLosses, taught: Tensor) -> Tensor:
    """What is trained on, (B,): tokens × L_align + L_UOT, as in the paper; `taught` is (B,) tokens."""
    return taught * losses.align + losses.transport


def logged(losses: TransferLosses) -> dict[str, Tensor]:
    """The statistics of a batch, as ESPnet's reporter takes them."""
    return {
        "loss_align": losses.align.detach().mean(),
        "loss_uot": losses.transport.detach().mean(),
        "token_mass_least": losses.least_token_mass.detach().min(),
        "frame_mass_kept": losses.frames_kept.detach().mean(),
        "uot_residual": losses.residual.detach().max(),
    }


def check_same_teacher(transfer: Transfer, directory: Path, *, resumed: bool, writes: bool) -> None:
    """Note which teacher a training has, and refuse another one when it goes on.

    Args:
        transfer: with its teacher.
        directory: ESPnet's output directory.
        resumed: whether an earlier training goes on.
        writes: whether this process writes files.

    Raises:
        ValueError: another teacher than the one before.
    """
    assert transfer.teacher is not None
    path = directory / TEACHER_FILE
    found = {
        "teacher": transfer.options.teacher,
        "teacher_path": transfer.options.teacher_path,
        "sha256": transfer.teacher.fingerprint(),
    }
    before = json.loads(path.read_text(encoding="utf-8")) if resumed and path.is_file() else found
    if before["sha256"] != found["sha256"]:
        raise ValueError(
            f"{directory}: the training goes on with the teacher that it began with, "
            f"{before['teacher']} {before['teacher_path']}; its parameters have changed since. Put it back, "
            "or train into another folder"
        )
    if writes:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
