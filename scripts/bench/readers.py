"""Does every reader of RTSTRUCTs see what we wrote? Voxel by voxel, with holes nested and cut in along a channel.

    python -m scripts.bench.readers [--rt-utils PYTHON] [--platipy PYTHON] [--dicom-rt-tool PYTHON]
                                    [--plastimatch PROGRAM] [--folder SCRATCH]

PYTHON is the interpreter of an environment that has the library of that name; each reader works in a process of its
own. A table says, for each structure and each way of writing holes, the Dice of the mask that a reader makes with the
mask that was drawn, or what it said when it failed. Readers fill polygons on pixel grids of their own, so that a
correct one agrees to about 0.99, less on what is few pixels wide.
"""

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from contour.core.geometry import Geometry
from contour.core.planning_system import HoleStyle, PlanningSystem
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.dicom.rtstruct_write import WriteOptions, write_rtstruct
from contour.dicom.series import ImageSeries, PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series

SHAPE_ZYX, SPACING_MM = (40, 144, 144), (2.5, 1.1, 1.1)  # square: rt-utils swaps rows and columns of others
IDENTITY = PatientStudy("Bench^Mark", "B1", "", "", "1.2.826.0.1.3680043.8.498.4", "1", "20240102", "", "", "", "")

# Each leaves NAME.npy (slices from low to high, rows, columns) in the folder `out`.
RT_UTILS = """
import sys, numpy as np
from rt_utils import RTStructBuilder
ct, path, out = sys.argv[1:]
held = RTStructBuilder.create_from(dicom_series_path=ct, rt_struct_path=path)
for name in held.get_roi_names():
    np.save(f"{out}/{name}.npy", held.get_roi_mask_by_name(name).transpose(2, 0, 1))
"""
PLATIPY = """
import sys, pathlib, numpy as np, SimpleITK as sitk
from platipy.dicom.io.rtstruct_to_nifti import convert_rtstruct
ct, path, out = sys.argv[1:]
convert_rtstruct(ct, path, prefix="", output_dir=out, output_img=None)
for file in pathlib.Path(out).glob("*.nii.gz"):
    np.save(f"{out}/{file.name[:-7]}.npy", sitk.GetArrayFromImage(sitk.ReadImage(str(file))) > 0)
"""
DICOM_RT_TOOL = """
import sys, pathlib, shutil, numpy as np
from DicomRTTool.ReaderWriter import DicomReaderWriter
ct, path, out = sys.argv[1:]
both = pathlib.Path(out, "both"); both.mkdir()
for file in pathlib.Path(ct).iterdir():
    shutil.copy(file, both)
shutil.copy(path, both / "rtstruct.dcm")
reader = DicomReaderWriter(description="", arg_max=False, verbose=False)
reader.walk_through_folders(str(both), thread_count=1)
names = reader.return_rois(print_rois=False)
by_fold = dict(pair.split("=") for pair in pathlib.Path(out, "names.txt").read_text().split())
for name in names:
    reader.set_contour_names_and_associations([name])
    reader.set_index(0)
    reader.get_mask()
    np.save(f"{out}/{by_fold.get(name.lower(), name)}.npy", np.asarray(reader.mask)[..., 1] > 0)
"""


@dataclass(frozen=True)
class Reader:
    """A name, and what leaves NAME.npy or NAME.nrrd for each structure in a folder: (CT, RTSTRUCT, folder)."""

    name: str
    read: Callable[[Path, Path, Path], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rt-utils", "platipy", "dicom-rt-tool"):
        parser.add_argument(f"--{name}", help="python of an environment that has it")
    parser.add_argument("--plastimatch", help="the plastimatch program")
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    given = parser.parse_args()
    scripts = (
        ("rt-utils", given.rt_utils, RT_UTILS),
        ("platipy", given.platipy, PLATIPY),
        ("DicomRTTool", given.dicom_rt_tool, DICOM_RT_TOOL),
    )
    readers = [Reader("contour", _ours)]
    readers += [Reader(name, partial(_by_script, python, script)) for name, python, script in scripts if python]
    if given.plastimatch:
        readers.append(Reader("plastimatch", partial(_by_plastimatch, given.plastimatch)))
    with tempfile.TemporaryDirectory() as scratch:
        print(table(readers, given.folder or Path(scratch)))


def table(readers: list[Reader], folder: Path) -> str:
    """Agreement in Markdown: a line for each structure and way of writing holes, a column for each reader."""
    series, structures = made(folder / "ct")
    lines = [
        f"| structure | holes | {' | '.join(reader.name for reader in readers)} |",
        "|---" * (len(readers) + 2) + "|",
    ]
    for style in HoleStyle:
        path = folder / f"{style}.dcm"
        write_rtstruct(structures, series, path, WriteOptions(system=PlanningSystem(holes=style)))
        seen = {reader.name: _masks(reader, structures, (folder, path)) for reader in readers}
        for structure in structures.structures:
            whole = structure.full_mask(SHAPE_ZYX)
            cells = [_cell(seen[reader.name], structure.name, whole) for reader in readers]
            lines.append(f"| {structure.name} | {style} | {' | '.join(cells)} |")
    return "\n".join(lines)


def made(folder: Path) -> tuple[ImageSeries, StructureSet]:
    """A series on disk, and solids, a shell with an island in its hole, two parts, a thin tube, and a few voxels."""
    grid = Geometry.axial(SHAPE_ZYX, SPACING_MM, (-80.0, -75.0, -40.0), "1.2.826.0.1.3680043.8.498.5")
    write_series(Volume(np.zeros(SHAPE_ZYX, np.int16), grid, Modality.CT), IDENTITY, folder, SeriesOptions(seed="read"))
    series = read_series(folder)
    z, y, x = (i * mm for i, mm in zip(np.indices(SHAPE_ZYX), SPACING_MM, strict=True))
    far = np.hypot(y - 75, x - 80)
    masks = {
        "Liver": (z - 50) ** 2 + (y - 70) ** 2 + (x - 60) ** 2 <= 38**2,
        "Chestwall": ((far <= 60) & (far >= 45)) | (far <= 12),
        "Lungs": np.minimum((y - 70) ** 2 + (x - 40) ** 2, (y - 70) ** 2 + (x - 120) ** 2) <= 25**2,
        "Esophagus": (y - 60 - 0.3 * z) ** 2 + (x - 80) ** 2 <= 5**2,
        "Cochlea_L": (z - 50) ** 2 + (y - 70) ** 2 + (x - 100) ** 2 <= 3**2,
    }
    structures = []
    for name, mask in masks.items():
        inner = mask.copy()
        inner[[0, -1]] = False  # some readers lose what touches the first or the last slice
        structures.append(Structure(name, (200, 80, 80), InterpretedType.ORGAN, *cropped_to_content(inner)))
    return series, StructureSet("READERS", series.volume.geometry, tuple(structures))


def _masks(reader: Reader, structures: StructureSet, where: tuple[Path, Path]) -> dict[str, Mask] | str:
    """What a reader makes of the file, by structure; or the last line it said when it failed."""
    folder, path = where
    out = folder / f"{reader.name}-{path.stem}"
    out.mkdir(parents=True)
    names = [structure.name for structure in structures.structures]
    (out / "names.txt").write_text(" ".join(f"{name.lower()}={name}" for name in names), encoding="utf-8")
    try:
        reader.read(folder / "ct", path, out)
    except subprocess.CalledProcessError as error:
        return (error.stderr or error.stdout or "no word").strip().splitlines()[-1][:80]
    return {name: mask for name in names if (mask := _left(out, name)) is not None}


def _left(folder: Path, name: str) -> Mask | None:
    if (folder / f"{name}.npy").exists():
        return np.asarray(np.load(folder / f"{name}.npy"), dtype=bool)
    if (folder / f"{name}.nrrd").exists():
        return np.asarray(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.nrrd"))) > 0)
    return None


def _cell(seen: dict[str, Mask] | str, name: str, whole: Mask) -> str:
    if isinstance(seen, str):
        return f"failed: {seen}"
    if name not in seen:
        return "lost"
    mask = seen[name]
    if mask.shape != whole.shape:
        return f"of shape {mask.shape}"
    return f"{2 * np.count_nonzero(mask & whole) / (np.count_nonzero(mask) + np.count_nonzero(whole)):.4f}"


def _ours(ct: Path, path: Path, out: Path) -> None:
    for structure in read_rtstruct(path, read_series(ct)).structures:
        np.save(out / f"{structure.name}.npy", structure.full_mask(SHAPE_ZYX))


def _by_script(python: str, script: str, ct: Path, path: Path, out: Path) -> None:
    command = [python, "-c", script, str(ct), str(path), str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _by_plastimatch(program: str, ct: Path, path: Path, out: Path) -> None:
    command = [program, "convert", "--input", str(path), "--referenced-ct", str(ct), "--output-prefix", str(out)]
    subprocess.run([*command, "--prefix-format", "nrrd"], check=True, capture_output=True, text=True)


if __name__ == "__main__":
    main()
