"""The auxiliary CTC head of an OTTC model as an ordinary CTC model."""

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from espnet_ottc.espnet.boundary_head import HEAD_OPTIONS, PREFIX
from espnet_ottc.espnet.checkpoints import load_parameters
from espnet_ottc.espnet.criteria.options import FORMER_NAME, SHARED_WITH_CTC
from espnet_ottc.utils.files import written_aside

_HEAD = "ctc.ctc_lo."
_AUXILIARY_HEAD = "ctc.aux_ctc_lo."


def export_auxiliary_ctc(experiment: Path, checkpoint: str, out: Path) -> None:
    """Write the model directory of the CTC model that a training with `aux_ctc_weight` contains.

    It has the encoder, everything else of the model, and the auxiliary head in the place of OTTC's.

    Args:
        experiment: ESPnet's output directory of the training.
        checkpoint: name of a parameter file in it.
        out: the directory to write `config.yaml` and the parameter file to.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a model without an auxiliary head.
    """
    config = yaml.safe_load((experiment / "config.yaml").read_text(encoding="utf-8"))
    state = load_parameters(experiment / checkpoint)
    auxiliary = _below(state, _AUXILIARY_HEAD)
    if not auxiliary:
        raise ValueError(
            f"{experiment / checkpoint}: the model must have an auxiliary CTC head "
            "(ctc_type: ottc with aux_ctc_weight above 0); it has none"
        )
    # What else OTTC has of its own, CTC has no use for, and ESPnet's model no place for a boundary head.
    kept = {name: value for name, value in state.items() if not name.startswith(("ctc.", PREFIX))}
    kept |= {_HEAD + name: value for name, value in auxiliary.items()}
    out.mkdir(parents=True, exist_ok=True)
    with written_aside(out / checkpoint) as aside:
        torch.save(kept, aside)
    with written_aside(out / "config.yaml") as aside:
        text = yaml.safe_dump(_ctc_config(config, out), sort_keys=False, allow_unicode=True)
        aside.write_text(text, encoding="utf-8")


def _ctc_config(config: dict[str, Any], out: Path) -> dict[str, Any]:
    conf = config.get("ctc_conf") or {}
    shared = {name: conf[name] for name in (*SHARED_WITH_CTC, FORMER_NAME) if name in conf}
    model = config.get("model_conf") or {}
    return {
        **config,
        "model": "espnet",
        "model_conf": {name: model[name] for name in model if name not in HEAD_OPTIONS},
        "ctc_conf": {"ctc_type": "builtin", **shared},
        "output_dir": str(out),
    }


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
