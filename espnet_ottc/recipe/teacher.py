"""Train the language model that teaches (stage 4), where a system asks for one and names none itself."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from espnet_ottc.recipe import jobs
from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.recipe.systems import System
from espnet_ottc.recipe.training_record import threads
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import written_aside

_DEFAULT_SIZE = 128


def train(recipe: Recipe) -> None:
    """Stage 4."""
    systems = [system for system in recipe.systems if system.needs_teacher]
    if not systems:
        say("stage 4: no system is taught by a language model of its own, skipped")
        return
    paths, options = recipe.paths, recipe.options
    texts = [Path(text) for text in options.teacher_text or ()]
    heard = paths.text(recipe.sets.train)
    apart = [paths.text(name) for name in (recipe.sets.valid, *recipe.sets.evaluated)]
    apart = [path for path in dict.fromkeys(apart) if path != heard]
    step = Step(
        title="stage 4: teacher",
        mark=paths.teacher_mark,
        options={"steps": options.teacher_steps, "size": teacher_size(systems)},
        inputs=(paths.tokens, *token_models(recipe), *(texts or [heard]), *apart),
        outputs=(paths.teacher,),
        after={paths.tokens_mark: "stage 3 (tokens)"},
    )

    def work(_: bool) -> None:
        with written_aside(paths.teacher) as aside:
            command = [sys.executable, "-m", "espnet_ottc.bin.train_teacher", "--out", str(aside)]
            command += ["--text", *map(str, texts)] if texts else ["--transcripts", str(heard)]
            command += ["--leave_out", *map(str, apart)] if apart else []
            command += ["--token_list", str(paths.tokens), "--token_type", recipe.token_type]
            for model in token_models(recipe):
                command += ["--bpemodel", str(model)]
            command += ["--size", str(teacher_size(systems)), "--steps", str(options.teacher_steps)]
            said: list[str] = []
            jobs.run_logged(
                command,
                paths.teacher_log,
                prefix=jobs.TRAIN,
                key="train the teacher",
                cores=threads(),
                watch=said.append,
            )
        say(f"  {said[-1].strip().rpartition(': ')[0]}" if said else "")

    perform(step, work, say)


def token_models(recipe: Recipe) -> list[Path]:
    """SentencePiece's model, where the tokens are its."""
    model = recipe.paths.bpe_model
    return [] if model is None else [model]


def teacher_size(systems: list[System]) -> int:
    """The size of the states that all systems want.

    Raises:
        ValueError: they want different ones.
    """
    sizes = {_adapter(system).get("linguistic_size", _DEFAULT_SIZE) for system in systems}
    if len(sizes) > 1:
        raise ValueError(
            "systems that one language model teaches must have the same linguistic_size, got "
            f"{', '.join(map(str, sorted(sizes)))}"
        )
    return int(sizes.pop())


def _adapter(system: System) -> Mapping[str, Any]:
    conf: Mapping[str, Any] = system.config.get("postencoder_conf") or {}
    return conf
