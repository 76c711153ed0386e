"""Whose forced alignment a training takes (the data stream `ali`), and what it leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from espnet_ottc.recipe.marks import StepError
from espnet_ottc.recipe.paths import alignment_stream, configuration_of
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.utils.files import written_aside


@dataclass(frozen=True)
class AlignmentSource:
    """A trained CTC model and its alignments.

    Attributes:
        title: how messages name it.
        model: its parameters, with ESPnet's config.yaml beside them.
        folder: where its alignments lie, a folder for each set.
        mark: done-mark of the alignments.
        after: what has to be done before it can align.
    """

    title: str
    model: Path
    folder: Path
    mark: Path
    after: Mapping[Path, str]

    def stream(self, set_name: str) -> Path:
        """The data stream `ali` of a set."""
        return alignment_stream(self.folder, set_name)


def alignment_source(recipe: Recipe, seed: int) -> AlignmentSource:
    """Whose forced alignment the trainings with a seed take.

    Raises:
        ValueError: --ali_from without a model.
    """
    given = recipe.options.ali_from
    if given is not None:
        return AlignmentSource(
            title=str(given),
            model=_model_file(given, recipe.options.inference_model),
            folder=recipe.paths.given_alignments,
            mark=recipe.paths.given_alignments_mark,
            after={},
        )
    system = recipe.options.ali_system
    return AlignmentSource(
        title=f"{system}, seed {seed}",
        model=recipe.paths.model(system, seed),
        folder=recipe.paths.own_alignments(system, seed),
        mark=recipe.paths.own_alignments_mark(system, seed),
        after={recipe.paths.train_mark(system, seed): f"the training of {system}"},
    )


def write_aligned_shapes(shapes: Path, stream: Path, out: Path) -> tuple[int, int]:
    """Copy the lines of ESPnet's shape file whose utterances have an alignment.

    ESPnet trains on the utterances of its shape files, and fails on one that a data stream lacks.

    Returns:
        The number of utterances copied, and of all.

    Raises:
        StepError: none is left.
    """
    # Late: it imports Lhotse, and that PyTorch; a check of options needs neither.
    from espnet_ottc.alignment.formats import read_text

    lines = read_text(shapes)
    aligned = read_text(stream).keys()
    kept = [utterance for utterance in lines if utterance in aligned]
    if not kept:
        raise StepError(f"{stream}: not one of the {len(lines)} utterances has a forced alignment")
    with written_aside(out) as aside, aside.open("w", encoding="utf-8") as file:
        file.writelines(f"{utterance} {' '.join(lines[utterance])}\n" for utterance in kept)
    return len(kept), len(lines)


def _model_file(given: Path, default: str) -> Path:
    model = given / default if given.is_dir() else given
    for path in (model, configuration_of(model)):
        if not path.is_file():
            raise ValueError(
                f"--ali_from must be a CTC experiment of ESPnet (a folder with config.yaml and "
                f"{default}) or a parameter file with config.yaml beside it; there is no {path}"
            )
    return model
