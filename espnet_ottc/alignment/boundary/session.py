"""From recordings with texts to a boundary model in a folder, interrupted or not."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espnet_ottc.alignment.boundary.adapting import adapted_config, fingerprint
from espnet_ottc.alignment.boundary.config import BoundaryConfig
from espnet_ottc.alignment.boundary.convergence import Convergence, check_convergence
from espnet_ottc.alignment.boundary.material import SpokenText
from espnet_ottc.alignment.boundary.model import BoundaryModel, is_boundary_model
from espnet_ottc.alignment.boundary.suited import suited_config
from espnet_ottc.alignment.boundary.training import Round, train_boundary_model
from espnet_ottc.alignment.boundary.units import Pronunciations
from espnet_ottc.utils.files import folder_written_aside, write_json
from espnet_ottc.utils.json_files import read_json_object
from espnet_ottc.utils.progress import progress

# Beside a model's folder, with its name.
CHECKPOINT = ".{}.training.pt"
RECORD = "training.json"
_CHECKED_UTTERANCES = 200


class NotConvergedError(ValueError):
    """A training that did not find the words; its model must not be used."""


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training came to.

    Attributes:
        model: to align with.
        convergence: how well it fits what it learned from.
        rounds: of the training.
        fresh: false where the folder held the same training already.
    """

    model: BoundaryModel
    convergence: Convergence
    rounds: list[Round]
    fresh: bool


def train_into(
    folder: Path,
    utterances: Sequence[SpokenText],
    config: BoundaryConfig | None = None,
    lexicon: Pronunciations | None = None,
    *,
    start: BoundaryModel | None = None,
    anyway: bool = False,
    again: bool = False,
) -> Trained:
    """Train a boundary model or adapt one, and keep it; or take up a training where it stopped.

    Args:
        folder: for the model; beside it lies a checkpoint while the training lasts.  A folder that holds the
            model of the same names, texts and settings is read instead.
        utterances: recordings with their texts.
        config: None takes what suits the texts.
        lexicon: pronunciations; None spells by letters.
        start: a model that is adapted; its configuration and pronunciations go before the others.
        anyway: keep and return a model that did not converge.
        again: neither read a model that is there, nor go on from a checkpoint.

    Raises:
        NotConvergedError: the training did not find the words; nothing is kept.
        ValueError: no utterance that can be learned from; a start from Gaussians.
        OSError: the folder cannot be written.
    """
    if start is not None:
        config, lexicon = adapted_config(start), start.units.lexicon
    config = config or suited_config((one.words for one in utterances), lexicon=lexicon)
    key = _key(utterances, config, lexicon, start)
    record = None if again else _read_record(folder, key)
    if record is not None:
        convergence = Convergence(**record["convergence"])
        if not (convergence.converged or anyway):
            raise _not_converged(convergence)
        rounds = [Round(**done) for done in record["rounds"]]
        return Trained(BoundaryModel.load(folder), convergence, rounds, fresh=False)
    checkpoint = folder.with_name(CHECKPOINT.format(folder.name))
    if again:
        checkpoint.unlink(missing_ok=True)
    stages = config.stages if start is None else config.stages[-1:]
    most = sum(stage.rounds for stage in stages)
    with progress(title="train", unit="round", total=most) as bar:

        def step(done: Round) -> None:
            bar.update()

        model, rounds = train_boundary_model(
            utterances,
            config,
            lexicon=lexicon,
            start=start,
            checkpoint=checkpoint,
            on_round=step,
        )
    convergence = _checked(model, utterances)
    if not (convergence.converged or anyway):
        checkpoint.unlink(missing_ok=True)
        raise _not_converged(convergence)
    with folder_written_aside(folder) as aside:
        model.write_into(aside)
        content = {
            "key": key,
            "convergence": vars(convergence),
            "rounds": [vars(done) for done in rounds],
        }
        write_json(aside / RECORD, content)
    checkpoint.unlink(missing_ok=True)
    return Trained(model, convergence, rounds, fresh=True)


def _not_converged(convergence: Convergence) -> NotConvergedError:
    return NotConvergedError(
        f"the training did not find the words: {convergence}.  More speech helps (ten different words "
        "need 2 minutes, free text 10), and texts that say what is said"
    )


def _checked(model: BoundaryModel, utterances: Sequence[SpokenText]) -> Convergence:
    """On some utterances, evenly chosen."""
    step = max(len(utterances) // _CHECKED_UTTERANCES, 1)
    features, texts = [], []
    for utterance in utterances[::step]:
        try:
            features.append(model.features(*utterance.load()))
        except (OSError, ValueError, RuntimeError):
            continue  # it took no part in the training either
        texts.append(utterance.words)
    return check_convergence(model, features, texts)


def _key(
    utterances: Sequence[SpokenText],
    config: BoundaryConfig,
    lexicon: Pronunciations | None,
    start: BoundaryModel | None,
) -> str:
    said = [[utterance.name, *utterance.words] for utterance in utterances]
    begun = [] if start is None else [fingerprint(start)]
    content = json.dumps([config.to_json(), lexicon, said, *begun], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _read_record(folder: Path, key: str) -> dict[str, Any] | None:
    if not is_boundary_model(folder) or not (folder / RECORD).is_file():
        return None
    record = read_json_object(folder / RECORD)
    # Earlier versions did not ask whether texts were those of other recordings.
    asked = "preferred" in record.get("convergence", {})
    return record if asked and record.get("key") == key else None
