"""Language models that teach."""

from collections.abc import Sequence
from pathlib import Path

from espnet_ottc.espnet.transfer.options import TransferOptions
from espnet_ottc.espnet.transfer.teachers.interface import Represented, Teacher
from espnet_ottc.espnet.transfer.teachers.own_tokens import (
    load_espnet_lm,
    load_masked,
    random_teacher,
)

__all__ = ["Represented", "Teacher", "load_teacher"]


def load_teacher(options: TransferOptions, token_list: Sequence[str], size: int) -> Teacher:
    """The teacher that the options ask for.

    Args:
        options: of the transfer.
        token_list: the recogniser's tokens.
        size: of the adapter's projection, D.

    Raises:
        OSError, ValueError, ImportError: it cannot be loaded; its states have another size.
    """
    if options.teacher == "random":
        return random_teacher(size, token_list)
    if not options.teacher_path:
        raise ValueError(
            f"transfer_conf: to train, teacher: {options.teacher} needs a teacher_path (recipes give it)"
        )
    path = options.teacher_path
    teacher: Teacher
    if options.teacher == "masked_lm":
        teacher = load_masked(Path(path), token_list)
    elif options.teacher == "espnet_lm":
        teacher = load_espnet_lm(Path(path), token_list)
    else:
        # Late: it imports a large package.
        from espnet_ottc.espnet.transfer.teachers.huggingface import load_huggingface

        teacher = load_huggingface(
            path, token_list, layer=options.layer, lower_case=options.lower_case
        )
    if teacher.size != size:
        raise ValueError(
            f"postencoder_conf: linguistic_size must be the size of the teacher's states, {teacher.size} "
            f"for {path}; got {size}"
        )
    return teacher
