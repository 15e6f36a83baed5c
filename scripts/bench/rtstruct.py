"""Masks -> RTSTRUCT and back for 20 structures of a 512 x 512 x 200 series, beside rt-utils and plastimatch. Linux.

    python -m scripts.bench.rtstruct --rt-utils PYTHON [--plastimatch PROGRAM] [--rounds 2] [--folder SCRATCH]

PYTHON is the interpreter of an environment that has rt-utils. Every tool works in a process of its own, and its memory
is the peak of that process, with the libraries, the images' pixels and the masks that it holds. Processor seconds are
shown beside the clock's, because a busy machine stretches the clock. What is timed: for writing, from masks in memory
to the file on disk (ours includes reading back and proving, rt-utils' does not); for reading, from file to masks in
memory (ours; rt-utils' with the CT's headers) or on disk (plastimatch: the whole process, which reads the CT as well,
so ours is shown with reading and checking the CT, too).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contour.core.structures import InterpretedType, Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.rtstruct_write import write_rtstruct
from contour.dicom.series import ImageSeries, PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series
from contour.imaging.contours import trace
from scripts.bench.twenty_structures import twenty_structures

RT_UTILS = """
import json, resource, sys, time
import numpy as np
from rt_utils import RTStructBuilder
what, folder, masks, path = sys.argv[1:]
def clocks():
    use = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), use.ru_utime + use.ru_stime
if what == "write":
    held = np.load(masks)
    names = sorted(held.files)
    # rt-utils wants rows, columns, slices; what takes up memory is its own work, so masks come one at a time
    rtstruct = RTStructBuilder.create_new(dicom_series_path=folder)
    wall = cpu = 0.0
    for name in names:
        mask = np.ascontiguousarray(np.unpackbits(held[name], axis=-1).astype(bool).transpose(1, 2, 0))
        a, b = clocks()
        rtstruct.add_roi(mask=mask, name=name)
        c, d = clocks()
        wall, cpu = wall + c - a, cpu + d - b
    a, b = clocks()
    rtstruct.save(path)
    c, d = clocks()
    wall, cpu = wall + c - a, cpu + d - b
else:
    a, b = clocks()
    rtstruct = RTStructBuilder.create_from(dicom_series_path=folder, rt_struct_path=path)
    for name in rtstruct.get_roi_names():
        rtstruct.get_roi_mask_by_name(name)
    c, d = clocks()
    wall, cpu = c - a, d - b
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")][0]
print(json.dumps([wall, cpu, int(peak.split()[1]) / 1024]))
"""

IDENTITY = PatientStudy("Bench^Mark", "B1", "", "", "1.2.826.0.1.3680043.8.498.3", "1", "20240102", "", "", "", "")


@dataclass(frozen=True)
class Cost:
    """Clock and processor seconds, and peak memory in MB (0 where not measured)."""

    wall: float
    cpu: float
    memory_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rt-utils", help="python of an environment with rt-utils")
    parser.add_argument("--plastimatch", help="the plastimatch program")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--ours", choices=("write", "read", "read-all"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        print(json.dumps(ours(arguments.ours, arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        prepare(folder)
        for _ in range(arguments.rounds):
            compare(folder, arguments.rt_utils, arguments.plastimatch)


def compare(folder: Path, rt_utils: str | None, plastimatch: str | None) -> None:
    own = [sys.executable, "-m", "scripts.bench.rtstruct", "--folder", str(folder), "--ours"]
    rows = {"contour, written and proven": measured([*own, "write"])}
    if rt_utils:
        run = [rt_utils, "-c", RT_UTILS]
        paths = [str(folder / "ct"), str(folder / "masks.npz")]
        rows["rt-utils, written"] = measured([*run, "write", *paths, str(folder / "rt_utils.dcm")])
    show(rows)
    rows = {"contour, read": measured([*own, "read"]), "contour, read with its CT": measured([*own, "read-all"])}
    if rt_utils:
        rows["rt-utils, read with its CT"] = measured([*run, "read", *paths, str(folder / "ours.dcm")])
    if plastimatch:
        rows["plastimatch, read with its CT"] = measured_process(plastimatch, folder)
    show(rows)


def show(rows: dict[str, Cost]) -> None:
    first = next(iter(rows.values()))
    for name, cost in rows.items():
        memory = f"{cost.memory_mb:6.0f} MB" if cost.memory_mb else " " * 9
        ratio = f"{cost.wall / first.wall:6.1f} x clock, {cost.cpu / first.cpu:6.1f} x processor"
        print(f"{name:32} {cost.wall:7.2f} s, processor {cost.cpu:7.2f} s, {memory} {ratio}", flush=True)


def measured(command: list[str]) -> Cost:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def measured_process(plastimatch: str, folder: Path) -> Cost:
    command = [plastimatch, "convert", "--input", str(folder / "ours.dcm"), "--referenced-ct", str(folder / "ct")]
    command += ["--output-prefix", str(folder / "plastimatch"), "--prefix-format", "nrrd"]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = use.ru_utime + use.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.perf_counter() - start, cpu, 0.0)


def prepare(folder: Path) -> None:
    """The CT as DICOM, and the masks packed to bits: whole ones for rt-utils, cropped ones for us."""
    structures = twenty_structures()
    volume = Volume(np.zeros(structures.geometry.shape_zyx, np.int16), structures.geometry, Modality.CT)
    write_series(volume, IDENTITY, folder / "ct", SeriesOptions(seed="bench"))
    whole, cropped = {}, {}
    for structure in structures.structures:
        whole[structure.name] = np.packbits(structure.full_mask(structures.geometry.shape_zyx), axis=-1)
        cropped[structure.name] = np.packbits(structure.mask_zyx)
        cropped[structure.name + " box"] = np.array([structure.offset_zyx, structure.mask_zyx.shape])
    np.savez(folder / "masks.npz", **whole)  # type: ignore[arg-type]  # arrays by name
    np.savez(folder / "cropped.npz", **cropped)  # type: ignore[arg-type]


def prepared(folder: Path, series: ImageSeries) -> StructureSet:
    held = np.load(folder / "cropped.npz")
    structures = []
    for name in (name for name in held.files if not name.endswith(" box")):
        offset, shape = held[name + " box"].tolist()
        mask = np.unpackbits(held[name], count=int(np.prod(shape))).view(bool).reshape(shape)
        structures.append(Structure(name, (255, 0, 0), InterpretedType.ORGAN, mask, tuple(offset)))
    return StructureSet("bench", series.volume.geometry, tuple(structures))


def ours(what: str, folder: Path) -> tuple[float, float, float]:
    """Clock and processor seconds, and by how much the peak of memory rises above what was held before, in MB."""
    series = read_series(folder / "ct") if what != "read-all" else None
    structures = prepared(folder, series) if what == "write" and series is not None else None
    if structures is not None:
        trace(structures.structures[-1].mask_zyx)  # a first call loads code; that is not what is measured
    start, cpu, held_mb = time.perf_counter(), time.process_time(), peak_mb()
    if structures is not None and series is not None:
        write_rtstruct(structures, series, folder / "ours.dcm")
        seconds = time.perf_counter() - start, time.process_time() - cpu
    else:
        series = series or read_series(folder / "ct")
        read = read_rtstruct(folder / "ours.dcm", series)
        seconds = time.perf_counter() - start, time.process_time() - cpu
        check(read, prepared(folder, series))
    print(f"held before: {held_mb:.0f} MB", file=sys.stderr)
    return *seconds, peak_mb()


def check(read: StructureSet, drawn: StructureSet) -> None:
    for a, b in zip(read.structures, drawn.structures, strict=True):
        assert (a.name, a.offset_zyx) == (b.name, b.offset_zyx)
        assert np.array_equal(a.mask_zyx, b.mask_zyx), a.name


def peak_mb() -> float:
    """Peak memory of this process alone; getrusage would count what its parent held when it started it."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
