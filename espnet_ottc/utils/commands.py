"""What every command shares: exit status, lines for the user, logs."""

import contextlib
import io
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

# Characters of a message: damaged files have ids, words and numbers without end.
_LONGEST = 2000


class UserError(Exception):
    """A fault that the user has to put right; its text is the message, and says how.

    Args:
        message: the text.
        status: exit status of the command.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run(command: Callable[[], object], *, every_fault: bool = False) -> int:
    """Run a command; a fault of the user's is one message on standard error and status 1.

    Args:
        command: what to do.  ValueError, OSError, ImportError and UserError are faults of the user's:
            of options and files, of a package that is not installed.  Others are our own, and are
            shown with their traceback.
        every_fault: show our own faults in one line too, and Ctrl-C in none; for commands with --debug.

    Returns:
        The exit status: 0, 1 or that of a `UserError`, or 130 after Ctrl-C.
    """
    try:
        command()
    except (UserError, OSError, ValueError, ImportError) as fault:
        print(f"error: {message_of(fault)}", file=sys.stderr)
        return fault.status if isinstance(fault, UserError) else 1
    except KeyboardInterrupt:
        if not every_fault:
            raise
        return 130
    except Exception as fault:
        if not every_fault:
            raise
        text = " ".join(message_of(fault).split())
        print(f"error: {type(fault).__name__}: {text} (--debug shows where)", file=sys.stderr)
        return 1
    return 0


def message_of(fault: BaseException) -> str:
    """What an error says, as a terminal shows it; of what is very long the middle is left out.

    Args:
        fault: an error.
    """
    text = str(fault)
    return (
        text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    )


def check_file(option: str, path: Path | None) -> None:
    """Refuse a file to read that is not there, by the option that names it.

    Args:
        option: with its dashes.
        path: what it was given; None where it was not.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder.
    """
    if path is None:
        return
    if path.is_dir():
        raise ValueError(f"{option} must be a file, {path} is a folder")
    if not path.exists():
        raise FileNotFoundError(f"{option}: there is no file {path}")


def check_folder(option: str, path: Path | None) -> None:
    """Refuse a folder to write to that cannot be made, since it or one above it is a file.

    Args:
        option: with its dashes.
        path: what it was given; None where it was not.

    Raises:
        ValueError: there is a file of that name.
    """
    for place in () if path is None else (path, *path.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"{option} must be a folder, {place} is a file")


def check_other_folder(model: str | None, folder: Path) -> None:
    """Refuse to write what is made of a model in place of this model.

    Args:
        model: as it was named; None where there was none.
        folder: to write to.

    Raises:
        ValueError: the folder is the model's.
    """
    if model is not None and Path(model).exists() and folder.resolve() == Path(model).resolve():
        raise ValueError(f"{folder} is the --model itself: give another --out")


def say(line: str) -> None:
    """Print one line for the user, above a progress bar if there is one."""
    # Whoever draws a bar has imported tqdm; nobody else needs it.
    # Another thread may be about to.
    bar = getattr(sys.modules.get("tqdm"), "tqdm", None)
    # The line and its end at once: other threads write, too.
    if bar is None:
        sys.stdout.write(f"{line}\n")
    else:
        bar.write(f"{line}\n", file=sys.stdout, end="")
    sys.stdout.flush()


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Hide what other packages print and warn of while they are imported; errors still show."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
