"""Errors as a person at a terminal needs them: what is wrong, where, and what to do next."""

from enum import IntEnum

from rich.console import Console
from rich.markup import escape

from contour.core.errors import (
    ConfigError,
    ContourError,
    InputRefused,
    NotReleased,
    PackageError,
    Reason,
    StillIdentified,
)


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    NOT_RELEASED = 3


def exit_code(error: ContourError) -> ExitCode:
    """The exit code that an error asks for."""
    return ExitCode.NOT_RELEASED if isinstance(error, NotReleased) else ExitCode.REFUSED


def print_failure(error: ContourError | OSError) -> None:
    """The error on stderr, and the next step."""
    console = Console(stderr=True)
    console.print(f"[bold red]{_heading(error)}[/] {escape(_body(error))}", soft_wrap=True)
    step = next_step(error)
    if step:
        console.print(f"[bold]Next:[/] {escape(step)}", soft_wrap=True)


def next_step(error: ContourError | OSError) -> str:
    """What a person can do about it; empty where the message says it all."""
    if isinstance(error, InputRefused):
        return _step_for(error.reason)
    if isinstance(error, PackageError):
        return "See `contour models list` and `contour models verify`; --models FOLDER adds packages of your own."
    if isinstance(error, ConfigError):
        return "Correct that and run again; --help shows the options of each command."
    if isinstance(error, NotReleased):
        return "Nothing was written. Keep the input and report this: it is a fault of the program."
    if isinstance(error, StillIdentified):
        return "Nothing was written. Leave that file out, or have what it holds removed where it was made; report this."
    return "Check the disk, the folder and its permissions. Nothing was left half-written."


def _heading(error: ContourError | OSError) -> str:
    if isinstance(error, InputRefused):
        return f"Refused ({error.reason})"
    if isinstance(error, NotReleased):
        return "Not released"
    return "Error"


def _body(error: ContourError | OSError) -> str:
    if isinstance(error, InputRefused | ConfigError | PackageError):
        return f"{error.where}\n  found    {error.found}\n  allowed  {error.allowed}"
    return str(error)


def _step_for(reason: Reason) -> str:
    export = "Export the whole series again from the scanner or archive, then run again."
    acquire = "This geometry cannot be contoured safely: use a regular, untilted reconstruction."
    steps = {
        Reason.NO_IMAGES: "Give the folder that holds the CT or MR slices.",
        Reason.SEVERAL_SERIES: "Name one of them: --series-uid UID.",
        Reason.UNKNOWN_SERIES: "Name one of the series listed: --series-uid UID.",
        Reason.MISSING_SLICE: export,
        Reason.TRUNCATED_FILE: export,
        Reason.UNREADABLE_FILE: export,
        Reason.DUPLICATE_POSITION: "Split phases or repeated reconstructions into folders of their own.",
        Reason.DUPLICATE_INSTANCE: export,
        Reason.GANTRY_TILT: acquire,
        Reason.UNEVEN_SPACING: acquire,
        Reason.WRONG_MODALITY: "Choose a protocol for this modality: `contour protocols list`.",
        Reason.WRONG_SERIES: "Give the image series that the structures were drawn on.",
        Reason.TOO_LARGE: "Give the folder of one series, or check whether the files are what they claim to be.",
        Reason.IMPLAUSIBLE_IMAGE: "Look at the image: is it the right series, and was it exported with its rescaling?",
    }
    return steps.get(reason, "")
