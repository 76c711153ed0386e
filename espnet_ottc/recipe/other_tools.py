"""Times of other tools for the recipe's utterances: `DIR/<tool>/<set>.ctm` of `--other_times DIR`."""

import shutil
from pathlib import Path

from espnet_ottc.recipe.marks import Step, perform
from espnet_ottc.recipe.paths import PROVENANCE
from espnet_ottc.recipe.recipe import Recipe
from espnet_ottc.utils.commands import say
from espnet_ottc.utils.files import write_json, written_aside

# Their rows have these in place of a seed and of a decoder.
OTHER_SEED, OTHER_DECODER = 0, "ctm"


def other_tools(recipe: Recipe) -> tuple[str, ...]:
    """The names of the tools.

    Raises:
        ValueError: a folder that is not there, or has no times of a tool.
    """
    folder: Path | None = recipe.options.other_times
    if folder is None:
        return ()
    tools = tuple(sorted({path.parent.name for path in folder.glob("*/*.ctm")}))
    if not tools:
        raise ValueError(f"--other_times: there is no {folder}/<tool>/<set>.ctm")
    return tools


def take_times(recipe: Recipe, tool: str, set_name: str) -> bool:
    """Copy a tool's times of a set to where those of the systems lie; whether it has any."""
    source = recipe.options.other_times / tool / f"{set_name}.ctm"
    if not source.is_file():
        return False
    paths, training = recipe.paths, (tool, OTHER_SEED)
    words = paths.word_times(*training, OTHER_DECODER, set_name)
    about = paths.experiment(*training) / PROVENANCE
    step = Step(
        title=f"stage 10: times of {set_name} by {tool}",
        mark=paths.align_mark(*training, set_name),
        options={},
        inputs=(source,),
        outputs=(words, about),
    )

    def work(_: bool) -> None:
        with written_aside(words) as aside:
            shutil.copyfile(source, aside)
        write_json(about, {"times_only": True, "times": str(source.parent)})

    perform(step, work, say)
    return True
