"""`contour`: the commands put together, and what its exit codes mean."""

import io
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType

import typer

from contour.cli.batch import batch
from contour.cli.check import check
from contour.cli.commission import commission_site
from contour.cli.compare import compare
from contour.cli.convert import to_nifti, to_rtstruct, to_seg
from contour.cli.data_audit import data_audit
from contour.cli.data_build import data_build
from contour.cli.data_deidentify import data_deidentify
from contour.cli.data_index import data_index
from contour.cli.data_make import data_make
from contour.cli.data_names import data_names
from contour.cli.data_plan import data_plan
from contour.cli.data_split import data_split
from contour.cli.demo import demo
from contour.cli.doctor import doctor
from contour.cli.evaluate import evaluate_cases
from contour.cli.export import export
from contour.cli.failures import ExitCode, exit_code, print_failure
from contour.cli.interpolate import interpolate
from contour.cli.jobs import cancel_jobs, list_jobs, retry_jobs, show_job
from contour.cli.merge import merge
from contour.cli.models import (
    install_models,
    list_models,
    make_signing_keys,
    pack_model,
    remove_model,
    show_model,
    sign_model,
    verify_models,
)
from contour.cli.models_import import (
    import_monai_model,
    import_nnunet_model,
    import_onnx_model,
    import_totalsegmentator_models,
)
from contour.cli.monitor import monitor
from contour.cli.node_audit import verify_trail
from contour.cli.node_check import check_settings
from contour.cli.node_fetch import fetch_study
from contour.cli.node_health import show_health
from contour.cli.node_run import run_node
from contour.cli.promote import promote
from contour.cli.protocols import check_protocol, list_protocols, show_protocol
from contour.cli.review import ServeByDefault, review_add_user, review_serve
from contour.cli.run import run_series
from contour.cli.tps import list_systems, show_system
from contour.cli.train import train
from contour.cli.worker import worker
from contour.core.errors import ContourError

HELP = """Auto-contouring for radiotherapy: a folder of CT slices becomes an RTSTRUCT that is proven before release.

Exit codes: 0 done, 1 failed, 2 refused (input, configuration or package), 3 drawn but not released.
Everything is drawn for a clinician's review.
"""


PROGRAM = "contour"
STOPPING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a request to end, a terminal that closes


class Stopped(BaseException):
    """A signal asked the program to end: unwinding removes what is half-written."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


Command = Callable[..., None]

COMMANDS: Mapping[str, Command] = {
    "run": run_series,
    "batch": batch,
    "demo": demo,
    "check": check,
    "compare": compare,
    "merge": merge,
    "interpolate": interpolate,
    "worker": worker,
    "monitor": monitor,
    "doctor": doctor,
    "train": train,
    "evaluate": evaluate_cases,
    "commission": commission_site,
    "export": export,
    "promote": promote,
}

GROUPS: Mapping[str, tuple[str, Mapping[str, Command]]] = {
    "convert": (
        "RTSTRUCT to NIfTI masks and back.",
        {"to-nifti": to_nifti, "to-rtstruct": to_rtstruct, "to-seg": to_seg},
    ),
    "protocols": (
        "What can be drawn: the protocols.",
        {"list": list_protocols, "show": show_protocol, "check": check_protocol},
    ),
    "tps": ("What planning systems take of a structure set.", {"list": list_systems, "show": show_system}),
    "models": (
        "What draws: the model packages.",
        {
            "list": list_models,
            "show": show_model,
            "verify": verify_models,
            "install": install_models,
            "remove": remove_model,
            "pack": pack_model,
            "keys": make_signing_keys,
            "sign": sign_model,
        },
    ),
    "jobs": (
        "What waits in a queue, is drawn, or was.",
        {"list": list_jobs, "show": show_job, "retry": retry_jobs, "cancel": cancel_jobs},
    ),
    "node": (
        "The DICOM node: images in, structure sets out, unattended.",
        {
            "run": run_node,
            "check": check_settings,
            "health": show_health,
            "fetch": fetch_study,
            "audit": verify_trail,
        },
    ),
    "data": (
        "A hospital's archive becomes cases to train and to judge on.",
        {
            "make": data_make,
            "index": data_index,
            "names": data_names,
            "build": data_build,
            "audit": data_audit,
            "split": data_split,
            "plan": data_plan,
            "deidentify": data_deidentify,
        },
    ),
}

IMPORTS: Mapping[str, Command] = {
    "nnunet": import_nnunet_model,
    "totalsegmentator": import_totalsegmentator_models,
    "monai": import_monai_model,
    "onnx": import_onnx_model,
}


def build_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    _add(app, COMMANDS)
    groups = {name: _group(about, commands) for name, (about, commands) in GROUPS.items()}
    groups["models"].add_typer(_group("Networks that others trained become packages.", IMPORTS), name="import")
    for name, group in groups.items():
        app.add_typer(group, name=name)
    review = typer.Typer(
        cls=ServeByDefault,
        help="A page to look at what was drawn and to decide: contour review FOLDER...",
        no_args_is_help=True,
    )
    _add(review, {"serve": review_serve, "add-user": review_add_user})
    app.add_typer(review, name="review")
    return app


def _group(about: str, commands: Mapping[str, Command]) -> typer.Typer:
    group = typer.Typer(help=about, no_args_is_help=True)
    _add(group, commands)
    return group


def _add(app: typer.Typer, commands: Mapping[str, Command]) -> None:
    for name, command in commands.items():
        app.command(name)(command)


def run() -> None:
    """The entry point."""
    for name in STOPPING_SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # What is ignored stays so: `nohup` lets a run outlive the terminal that started it.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        # Names of files hold any bytes, and not every terminal knows every letter: that must not end a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        build_app()(prog_name=PROGRAM)
    except Stopped as stopped:
        sys.exit(128 + stopped.number)
    except ContourError as error:
        print_failure(error)
        sys.exit(exit_code(error))
    except OSError as error:
        # A full disk, a folder without permission: the file and the reason are enough to act on.
        print_failure(error)
        sys.exit(ExitCode.FAILED)


def _stop(number: int, _: FrameType | None) -> None:
    raise Stopped(number)
