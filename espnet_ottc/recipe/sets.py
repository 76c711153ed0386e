"""Which parts of a corpus make up a recipe's training, development and evaluation sets."""

from collections.abc import Sequence
from dataclasses import dataclass

LIBRISPEECH_TRAINING = (
    "train-clean-5",
    "train-clean-100",
    "train-clean-360",
    "train-other-500",
)
# LibriSpeech's usual unions.
LIBRISPEECH_UNIONS = {
    "train_460": ("train-clean-100", "train-clean-360"),
    "train_960": ("train-clean-100", "train-clean-360", "train-other-500"),
}
LIBRISPEECH_DEVELOPMENT = ("dev-clean", "dev-other", "dev-clean-2")
LIBRISPEECH_TEST = ("test-clean", "test-other")
_LIBRISPEECH_OFFICIAL = ("dev-clean", "dev-other", *LIBRISPEECH_TEST)


@dataclass(frozen=True)
class RecipeSets:
    """The sets of a recipe.

    Attributes:
        train: name of the training set.
        valid: name of the set that validates each epoch.
        evaluated: names of the sets to decode, align and score.
        members: the parts of the corpus in each set.
        absent: official development and test parts that the corpus lacks, without which it is done.
    """

    train: str
    valid: str
    evaluated: tuple[str, ...]
    members: dict[str, tuple[str, ...]]
    absent: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """All parts that are needed, each once."""
        return tuple(dict.fromkeys(part for parts in self.members.values() for part in parts))


def librispeech_sets(
    present: Sequence[str], train_set: str | None = None, eval_sets: Sequence[str] = ()
) -> RecipeSets:
    """The sets of a LibriSpeech recipe.

    Args:
        present: parts that the corpus has.
        train_set: a part, `train_460` or `train_960`; None is the only training part.
        eval_sets: parts to evaluate on; none is every development and test part that is present.

    Raises:
        ValueError: a set that is needed is absent, or `train_set` is None where there is a choice.
    """
    train = _training_set(present, train_set)
    members = {train: LIBRISPEECH_UNIONS.get(train, (train,))}
    development = _present(LIBRISPEECH_DEVELOPMENT, present)
    if not development:
        raise ValueError(_absent("a development set", LIBRISPEECH_DEVELOPMENT, present))
    evaluated = tuple(eval_sets)
    if not evaluated:
        tests = _present(LIBRISPEECH_TEST, present)
        if not tests:
            raise ValueError(_absent("a test set (or --eval_sets)", LIBRISPEECH_TEST, present))
        evaluated = (*development, *tests)
    valid = development[0] if len(development) == 1 else "dev"
    members[valid] = development
    members |= {name: (name,) for name in evaluated}
    absent = tuple(part for part in _LIBRISPEECH_OFFICIAL if part not in present)
    sets = RecipeSets(train, valid, evaluated, members, absent)
    missing = [part for part in sets.parts if part not in present]
    if missing:
        raise ValueError(
            f"the corpus lacks {', '.join(missing)}, which this run needs; it has {_list(present)}"
        )
    return sets


def official_sets(
    corpus: str,
    division: tuple[str, str, str],
    present: Sequence[str],
    train_set: str | None = None,
    eval_sets: Sequence[str] = (),
) -> RecipeSets:
    """The sets of a corpus with an official division, one set a part.

    Args:
        corpus: its name, for messages.
        division: names of the training, development and test parts.
        present: parts that the corpus has.
        train_set: None or the training part.
        eval_sets: parts to evaluate on; none is development and test.

    Raises:
        ValueError: a set that there is not.
    """
    train, development, test = division
    evaluated = tuple(eval_sets) or (development, test)
    if train_set not in (None, train):
        raise ValueError(f"{corpus} is trained on {train}, got {train_set}")
    members: dict[str, tuple[str, ...]] = {
        name: (name,) for name in (train, development, *evaluated)
    }
    missing = [name for name in members if name not in present]
    if missing:
        raise ValueError(
            f"{corpus} lacks {_list(missing)}, which this run needs; it has {_list(present)}"
        )
    return RecipeSets(train, development, evaluated, members)


def _training_set(present: Sequence[str], wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    training = _present(LIBRISPEECH_TRAINING, present)
    if not training:
        raise ValueError(_absent("a training set", LIBRISPEECH_TRAINING, present))
    if len(training) > 1:
        choices = [*training, *LIBRISPEECH_UNIONS]
        raise ValueError(f"say which to train on: --train_set with one of {', '.join(choices)}")
    return training[0]


def _present(known: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for part in known if part in present)


def _absent(what: str, known: Sequence[str], present: Sequence[str]) -> str:
    return f"the corpus has no {what.removeprefix('a ')}: one of {', '.join(known)} is needed; " + (
        f"it has {_list(present)}"
    )


def _list(present: Sequence[str]) -> str:
    return ", ".join(present) or "none"
