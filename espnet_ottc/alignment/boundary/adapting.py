"""What a model that is there goes on to learn, so that it gets to know other voices.

Rounds of the training go on with the recordings at hand: what the model takes their letters for is learned,
and found anew.  It keeps its units, its bands and all that it has learned.
"""

import hashlib
from dataclasses import replace

from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.model import BoundaryModel

# Rounds and the largest step, for letters alone and for those between neighbours.  More of either gains where
# all words were found, and carries away those that were not.
_ALONE, _IN_CONTEXT = (6, 1e-3), (3, 3e-4)
_EPOCHS = 2


def adapted_config(model: BoundaryModel) -> BoundaryConfig:
    """The model's configuration with a further stage.

    Args:
        model: a trained boundary model.

    Raises:
        ValueError: a model of Gaussians.
    """
    if model.config.mixture:
        raise ValueError("a model of Gaussians cannot be adapted: train it anew")
    *_, last = model.config.stages
    rounds, learning_rate = _IN_CONTEXT if last.neighbours else _ALONE
    stage = replace(last, rounds=rounds, epochs=_EPOCHS, scale=1.0)
    stages = (*model.config.stages, stage)
    return replace(model.config, stages=stages, learning_rate=learning_rate)


def fingerprint(model: BoundaryModel) -> str:
    """What is another one for a model with other parameters or another description."""
    found = hashlib.sha256()
    for name, value in sorted(model.to_tensors().items()):
        found.update(name.encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()
