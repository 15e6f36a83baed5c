"""`contour`: the commands put together, and what its exit codes mean."""

import io
import signal
import sys
from types import FrameType

import typer

from contour.cli.batch import batch
from contour.cli.check import check
from contour.cli.compare import compare
from contour.cli.convert import to_nifti, to_rtstruct, to_seg
from contour.cli.data_audit import data_audit
from contour.cli.data_build import data_build
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
from contour.cli.models import list_models, show_model, verify_models
from contour.cli.node_audit import verify_trail
from contour.cli.node_check import check_settings
from contour.cli.node_fetch import fetch_study
from contour.cli.node_run import run_node
from contour.cli.promote import promote
from contour.cli.protocols import check_protocol, list_protocols, show_protocol
from contour.cli.run import run_series
from contour.cli.tps import list_systems, show_system
from contour.cli.train import train
from contour.cli.worker import worker
from contour.core.errors import ContourError

HELP = """Auto-contouring for radiotherapy: a folder of CT slices becomes an RTSTRUCT that is proven before release.

Exit codes: 0 done, 1 failed, 2 refused (input, configuration or package), 3 drawn but not released.
Everything is drawn for a clinician's review.
"""


STOPPING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a request to end, a terminal that closes


class Stopped(BaseException):
    """A signal asked the program to end: unwinding removes what is half-written."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def build_app() -> typer.Typer:
    """The application with all its commands."""
    app = typer.Typer(help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
    app.command("run")(run_series)
    app.command("batch")(batch)
    app.command("demo")(demo)
    app.command("check")(check)
    app.command("compare")(compare)
    app.command("merge")(merge)
    app.command("interpolate")(interpolate)
    app.command("worker")(worker)
    app.command("doctor")(doctor)
    app.command("train")(train)
    app.command("evaluate")(evaluate_cases)
    app.command("export")(export)
    app.command("promote")(promote)
    convert = typer.Typer(help="RTSTRUCT to NIfTI masks and back.", no_args_is_help=True)
    convert.command("to-nifti")(to_nifti)
    convert.command("to-rtstruct")(to_rtstruct)
    convert.command("to-seg")(to_seg)
    app.add_typer(convert, name="convert")
    protocols = typer.Typer(help="What can be drawn: the protocols.", no_args_is_help=True)
    protocols.command("list")(list_protocols)
    protocols.command("show")(show_protocol)
    protocols.command("check")(check_protocol)
    app.add_typer(protocols, name="protocols")
    systems = typer.Typer(help="What planning systems take of a structure set.", no_args_is_help=True)
    systems.command("list")(list_systems)
    systems.command("show")(show_system)
    app.add_typer(systems, name="tps")
    models = typer.Typer(help="What draws: the model packages.", no_args_is_help=True)
    models.command("list")(list_models)
    models.command("show")(show_model)
    models.command("verify")(verify_models)
    app.add_typer(models, name="models")
    jobs = typer.Typer(help="What waits in a queue, is drawn, or was.", no_args_is_help=True)
    jobs.command("list")(list_jobs)
    jobs.command("show")(show_job)
    jobs.command("retry")(retry_jobs)
    jobs.command("cancel")(cancel_jobs)
    app.add_typer(jobs, name="jobs")
    app.add_typer(_node(), name="node")
    data = typer.Typer(help="A hospital's archive becomes cases to train and to judge on.", no_args_is_help=True)
    data.command("make")(data_make)
    data.command("index")(data_index)
    data.command("names")(data_names)
    data.command("build")(data_build)
    data.command("audit")(data_audit)
    data.command("split")(data_split)
    data.command("plan")(data_plan)
    app.add_typer(data, name="data")
    return app


def _node() -> typer.Typer:
    node = typer.Typer(help="The DICOM node: images in, structure sets out, unattended.", no_args_is_help=True)
    node.command("run")(run_node)
    node.command("check")(check_settings)
    node.command("fetch")(fetch_study)
    node.command("audit")(verify_trail)
    return node


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
        build_app()(prog_name="contour")
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
