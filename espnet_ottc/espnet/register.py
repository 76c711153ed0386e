"""Makes ESPnet know OTTC: importing this module is enough.

The one place of the package with an effect at import; a second import, or a call of `register`, changes
nothing more.  `ctc_type: builtin` and the other types build what they built before.
"""

from typing import Any

import espnet2.tasks.abs_task as abs_task
import espnet2.tasks.asr  # noqa: F401
from espnet2.tasks.abs_task import AbsTask
from espnet2.train.dataset import DATA_TYPES

from espnet_ottc.espnet import tasks
from espnet_ottc.espnet.data import CutAudio
from espnet_ottc.espnet.schedule import LINEAR_DECAY, LinearDecay
from espnet_ottc.espnet.shar import DATA_TYPE as SHAR
from espnet_ottc.espnet.shar_audio import SharAudio

DATA_TYPE = "lhotse"


def register() -> None:
    """Enter criteria, model, encoders, scheduler and data types into ESPnet's tables; once per process.

    Every task with a CTC has them: speech recognition and translation, spoken language understanding, OWSM
    (`s2t`, `s2t_ctc`), ESPnet-3's copies of these, and those that are imported later.
    """
    if DATA_TYPE in DATA_TYPES:
        return
    abs_task.scheduler_classes[LINEAR_DECAY] = LinearDecay
    DATA_TYPES[DATA_TYPE] = {
        "func": CutAudio,
        "kwargs": ["allow_multi_rates"],
        "help": "A manifest of Lhotse cuts, .jsonl or .jsonl.gz; the utterance ids are those of the cuts.",
    }
    DATA_TYPES[SHAR] = {
        "func": SharAudio,
        "kwargs": ["allow_multi_rates"],
        "help": "A folder or URL of Lhotse Shar, read as a stream; trainings take their texts from it, too.",
    }
    for task in _subclasses(AbsTask):
        tasks.enter(task)
    AbsTask.__init_subclass__ = classmethod(_enter_new_task)


def _enter_new_task(cls: type[AbsTask], /, **arguments: Any) -> None:
    super(AbsTask, cls).__init_subclass__(**arguments)
    tasks.enter(cls)


def _subclasses(task: type[AbsTask]) -> list[type[AbsTask]]:
    direct: list[type[AbsTask]] = task.__subclasses__()
    return [*direct, *(below for above in direct for below in _subclasses(above))]


register()
