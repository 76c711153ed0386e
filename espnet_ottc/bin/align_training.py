"""Forced alignment of the training data, for systems that train on the stream `ali` (stage 6).

Takes the options of `run.sh`; writes `ali/<set>/ali` of --ali_system's trainings: the token id of
every frame, by torchaudio's CTC aligner.
"""

import sys
from collections.abc import Sequence

from espnet_ottc.aligners import make_aligner
from espnet_ottc.bin import _steps
from espnet_ottc.bin._marks import Step, perform
from espnet_ottc.bin._recipe import Recipe, parse
from espnet_ottc.bin.train_systems import alignment_stream
from espnet_ottc.formats import written_aside

_ALIGNER = "torchaudio_ctc"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = parse(arguments)
    return _steps.run(lambda: _align_all(Recipe(options)))


def _align_all(recipe: Recipe) -> None:
    if not any(system.needs_alignment for system in recipe.systems):
        _steps.say("stage 6: no system trains on a forced alignment (label_weights: ali), skipped")
        return
    for seed in recipe.seeds:
        _align(recipe, recipe.options.ali_system, seed)


def _align(recipe: Recipe, teacher: str, seed: int) -> None:
    experiment = recipe.experiment(teacher, seed)
    model = recipe.model(teacher, seed)
    sets = (recipe.sets.train, recipe.sets.valid)
    step = Step(
        title=f"stage 6: forced alignment by {teacher}, seed {seed}",
        mark=recipe.mark(teacher, f"seed{seed}", "ali"),
        options={"aligner": _ALIGNER},
        inputs=(model, experiment / "config.yaml", *map(recipe.cuts, sets)),
        outputs=tuple(alignment_stream(recipe, teacher, seed, name) for name in sets),
        after={recipe.mark(teacher, f"seed{seed}", "train"): f"the training of {teacher}"},
    )

    def work(_: bool) -> None:
        # Late, since ESPnet takes long to import, and a skipped step needs none of it.
        _steps.log_to(experiment / "align.log")
        with _steps.hushed():
            from espnet_ottc.bin._alignment import frame_alignments
            from espnet_ottc.espnet.posteriors import TrainedModel
        trained = TrainedModel(experiment, model.name, recipe.device)
        aligner = make_aligner(_ALIGNER)
        for name in sets:
            path = alignment_stream(recipe, teacher, seed, name)
            with written_aside(path) as aside, aside.open("w", encoding="utf-8") as file:
                title = f"forced alignment of {name}"
                for utterance, tokens in frame_alignments(
                    trained, recipe.cuts(name), aligner, title
                ):
                    file.write(" ".join([utterance, *map(str, tokens)]) + "\n")

    perform(step, work, _steps.say)


if __name__ == "__main__":
    sys.exit(main())
