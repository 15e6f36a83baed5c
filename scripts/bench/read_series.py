"""Reading a CT series, beside SimpleITK (GDCM) and plain pydicom.

    python -m scripts.bench.read_series                    # 200 uncompressed slices of 512 x 512, made for the purpose
    python -m scripts.bench.read_series FOLDER             # any folder with one series

Each contender runs in a process of its own, `--repeats` times over a warm file cache, taking turns; the best counts.
Both wall and CPU seconds are shown: on a shared machine only the latter compare. `contour` checks geometry, headers and
padding and computes a checksum over the voxels besides; the others only read.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series

_MEASURED = """
import json, re, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
{imports}
def peak_kb():  # of this process alone, which ru_maxrss is not after a fork
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
memory = peak_kb()
wall, cpu = time.perf_counter(), time.process_time()
{read}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
grown = (peak_kb() - memory) / 1024
print(json.dumps([wall, cpu, grown, list(voxels.shape), int(voxels[::7, ::7, ::7].astype("int64").sum())]))
"""

CONTENDERS = {
    "contour": (
        "from contour.dicom.read_series import read_series",
        "voxels = read_series(folder).volume.voxels_zyx",
    ),
    "SimpleITK": (
        "import SimpleITK as sitk",
        """
reader = sitk.ImageSeriesReader()
names = max((reader.GetGDCMSeriesFileNames(str(folder), uid) for uid in reader.GetGDCMSeriesIDs(str(folder))), key=len)
reader.SetFileNames(names)
voxels = sitk.GetArrayFromImage(reader.Execute())
""",
    ),
    "pydicom": (
        "import numpy as np, pydicom",
        """
slices = [pydicom.dcmread(file) for file in folder.iterdir()]
slices = [s for s in slices if s.get("Modality") == "CT"]
slices.sort(key=lambda s: float(s.ImagePositionPatient[2]))
voxels = np.stack([s.pixel_array * np.float32(s.RescaleSlope) + np.float32(s.RescaleIntercept) for s in slices])
""",
    ),
    "raw bytes": (
        "import numpy as np",
        "voxels = np.array([len(file.read_bytes()) for file in folder.iterdir()]).reshape(-1, 1, 1)",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, help="a folder with one CT series")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        compare(arguments.folder, arguments.repeats)
        return
    with tempfile.TemporaryDirectory() as made:
        write_ct(Path(made))
        compare(Path(made), arguments.repeats)


def write_ct(folder: Path) -> None:
    """200 slices of noise round water, stored as most scanners do: unsigned, intercept -1024."""
    geometry = Geometry.axial((200, 512, 512), (2.0, 0.98, 0.98), (-250.0, -250.0, 0.0), "2.25.1")
    voxels = np.random.default_rng(0).integers(-1000, 1000, geometry.shape_zyx, dtype=np.int16)
    identity = PatientStudy("Bench", "B", "", "", "2.25.2", "", "", "", "", "", "")
    write_series(
        Volume(voxels, geometry, Modality.CT), identity, folder, SeriesOptions("bench", signed=False, intercept=-1024)
    )


def compare(folder: Path, repeats: int) -> None:
    runs: dict[str, list[list[float]]] = {name: [] for name in CONTENDERS}
    sums = {}
    for _ in range(repeats):
        for name, (imports, read) in CONTENDERS.items():
            program = _MEASURED.format(imports=imports, read=read)
            done = subprocess.run([sys.executable, "-c", program, folder], check=True, capture_output=True, text=True)
            wall, cpu, grown, shape, checksum = json.loads(done.stdout)
            runs[name].append([wall, cpu, grown])
            sums[name] = (shape, checksum)
    ours = [min(column) for column in zip(*runs["contour"], strict=True)]
    for name, measured in runs.items():
        wall, cpu, grown = (min(column) for column in zip(*measured, strict=True))
        ratio = f"{wall / ours[0]:5.1f} x wall {cpu / ours[1]:5.1f} x CPU"
        print(f"{name:10} wall {wall:7.3f} s  CPU {cpu:7.3f} s  memory +{grown:5.0f} MB  {ratio}  {sums[name]}")


if __name__ == "__main__":
    main()
