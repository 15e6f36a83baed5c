"""A batch beside a plain loop of `contour run` processes over the same series.

    python -m scripts.bench.batch                 # six phantoms, the thorax protocol
    python -m scripts.bench.batch --series 20 --protocol thorax_oar

Both draw with the same network, engine and threads, one series at a time, each into new folders; the batch a second
time with nothing new. The loop starts a process for each series, as a shell script would; the batch reads, submits and
keeps its records besides. On a shared machine CPU seconds compare, wall seconds do not.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.phantom import thorax_geometry, thorax_phantom

SPACING_ZYX_MM = (3.0, 1.5, 1.5)
COMMAND = (sys.executable, "-c", "from contour.cli.main import run; run()")


def main() -> None:
    """Measure, and print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=6)
    parser.add_argument("--protocol", default="thorax_oar")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    options = ["--protocol", arguments.protocol, "--threads", str(arguments.threads), "--engine", "cpu"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_archive(root / "archive", arguments.series)
        folders = sorted((root / "archive").iterdir())

        def loop() -> None:
            for one in folders:
                call("run", one, "--output", root / "loop" / one.name, *options)

        def batch() -> None:
            call("batch", root / "archive", "--output", root / "batch", *options)

        looped = measured("loop of contour run", arguments.series, loop)
        batched = measured("contour batch", arguments.series, batch)
        measured("again, nothing new", arguments.series, batch)
        print(f"batch / loop: {looped[0] / batched[0]:.2f} times as fast, {looped[1] / batched[1]:.2f} by CPU seconds")


def make_archive(folder: Path, series: int) -> None:
    """A phantom, as several patients."""
    volume = thorax_phantom(thorax_geometry(SPACING_ZYX_MM, frame_of_reference_uid="2.25.5")).volume
    for number in range(series):
        study = PatientStudy(f"Phantom^{number}", f"P{number}", "", "", f"2.25.6{number:04}", "", "", "", "", "", "")
        write_series(volume, study, folder / f"{number:04}", SeriesOptions(seed=str(number)))


def measured(what: str, series: int, work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of `work`, whose processes have ended by then; and a line."""
    wall, before = time.perf_counter(), cpu_seconds()
    work()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - before
    print(f"{what:22} {wall:7.1f} s, {cpu:7.1f} CPU s, {3600 * series / wall:7.0f} series/h", flush=True)
    return wall, cpu


def cpu_seconds() -> float:
    """Of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(*arguments: object) -> None:
    """The command line, in a process of its own."""
    subprocess.run([*COMMAND, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
