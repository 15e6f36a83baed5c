"""Indexing an archive of 100,000 files, beside a loop of pydicom over the same headers.

    python -m scripts.bench.archive_index                       # makes the archive in a temporary folder
    python -m scripts.bench.archive_index --patients 50         # a small one

The made archive has 200 CT slices (16 x 16 pixels), a structure set of ten ROIs, a plan and a dose for each patient.
`contour` reads all of it with one process and with `--workers`, then once more with nothing new; pydicom reads the
headers of a sample with `stop_before_pixels`, whole and with only the tags that the index keeps, in one process. Each
runs in a process of its own over a warm file cache. On a shared machine CPU seconds compare, wall seconds do not.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.series import PatientStudy
from contour.dicom.write_series import SeriesOptions, write_series

SLICES, ROIS, DRAWN_SLICES, POINTS = 200, 10, 60, 40
ROOT = "2.25.1000000"  # of every UID of the patient whose files are the pattern of all
PATIENT_ID = "PATIENT000000"

_MEASURED = """
import json, re, resource, sys, time
from pathlib import Path
{imports}
def cpu():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
if __name__ == "__main__":
    folder, argument = Path(sys.argv[1]), sys.argv[2]
    wall, start = time.perf_counter(), cpu()
    {read}
    wall, used = time.perf_counter() - wall, cpu() - start
    own = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(json.dumps([files, wall, used, own, child, str(told)]))
"""

INDEX = (
    "from contour.cases.archive_index import IndexOptions, index_archive",
    """index, workers = argument.split(":")
    summary = index_archive(folder, Path(index), IndexOptions(workers=int(workers)))
    files, told = summary.files, f"{summary.pairs} pairs, {summary.files_read} files read\"""",
)
PYDICOM = (
    "import pydicom",
    """keep = argument != "whole"
    tags = ["SOPClassUID", "SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
            "FrameOfReferenceUID", "ImagePositionPatient", "ImageType"] if keep else None
    paths = [path for path in sorted(folder.rglob("*.dcm"))][:@SAMPLE@]
    told = len({str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags).get("SeriesInstanceUID"))
            for path in paths})
    files, told = len(paths), f"{told} series\"""",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--patients", type=int, default=493, help="203 files each; 493 make 100,079")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, default=5000, help="how many files pydicom reads")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        archive, index = Path(made) / "archive", Path(made) / "index.sqlite"
        make_archive(archive, arguments.patients)
        one = measure("contour, 1 process", INDEX, archive, f"{index}:1")
        index.unlink()
        measure(f"contour, {arguments.workers} processes", INDEX, archive, f"{index}:{arguments.workers}")
        print(f"{'':24} index of {index.stat().st_size / 1e6:.0f} MB")
        measure("contour, nothing new", INDEX, archive, f"{index}:{arguments.workers}")
        sampled = (PYDICOM[0], PYDICOM[1].replace("@SAMPLE@", str(arguments.sample)))
        for name, kind in (("pydicom, whole header", "whole"), ("pydicom, nine tags", "tags")):
            peer = measure(name, sampled, archive, kind)
            print(f"{'':24} contour, 1 process: {one / peer:.1f} times the files a CPU second")


def measure(name: str, program: tuple[str, str], archive: Path, argument: str) -> float:
    """Run and print; files a CPU second."""
    imports, read = program
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:  # a file: processes that it starts import it
        script.write(_MEASURED.format(imports=imports, read=read))
        script.flush()
        command = [sys.executable, script.name, str(archive), argument]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    files, wall, cpu, own, child, told = json.loads(done.stdout)
    rate = f"{files / wall:7.0f} files/s  {files / cpu:7.0f} files/CPU s"
    memory = f"memory {own:.0f} MB" + (f", each reader {child:.0f} MB" if child else "")
    print(f"{name:24} {files} files  wall {wall:6.1f} s  CPU {cpu:6.1f} s  {rate}  {memory}  ({told})", flush=True)
    return float(files / cpu)


# -- the archive -----------------------------------------------------------------------------------------------------


def make_archive(archive: Path, patients: int) -> None:
    """Files of `patients` patients, a folder each, cut from one pattern: only patient and UIDs differ."""
    patterns = _patterns()
    for patient in range(1, patients + 1):
        folder = archive / f"{patient % 100:02d}" / f"{patient:06d}"
        folder.mkdir(parents=True)
        for name, pattern in patterns.items():
            data = pattern.replace(ROOT.encode(), f"2.25.1{patient:06d}".encode())
            (folder / name).write_bytes(data.replace(PATIENT_ID.encode(), f"PATIENT{patient:06d}".encode()))


def _patterns() -> dict[str, bytes]:
    """Name and bytes of each file of one patient."""
    geometry = Geometry.axial((SLICES, 16, 16), (2.0, 20.0, 20.0), (-160.0, -160.0, 0.0), f"{ROOT}.3")
    identity = PatientStudy("Bench", PATIENT_ID, "", "", f"{ROOT}.1", "", "20260101", "", "", "", "")
    volume = Volume(np.zeros(geometry.shape_zyx, dtype=np.int16), geometry, Modality.CT)
    patterns = {}
    with tempfile.TemporaryDirectory() as folder:
        for z, path in enumerate(write_series(volume, identity, Path(folder), SeriesOptions("bench"))):
            patterns[path.name] = _with_uids(path, z)
    patterns["RS.dcm"] = _structure_set()
    patterns["RP.dcm"] = _written(_object("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN"))
    patterns["RD.dcm"] = _written(_object("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE"))
    return patterns


def _with_uids(path: Path, z: int) -> bytes:
    """A slice under UIDs that the patient's number can be put into."""
    image = pydicom.dcmread(path)
    image.SeriesInstanceUID = f"{ROOT}.2"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = _image_uid(z)
    return _written(image)


def _image_uid(z: int) -> str:
    return f"{ROOT}.4.{z}"


def _structure_set() -> bytes:
    """Ten ROIs, each a circle on 60 slices."""
    angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    ds = _object("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT")
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "BENCH", "20260102", "101112"
    series = _item(SeriesInstanceUID=f"{ROOT}.2", ContourImageSequence=[_reference(z) for z in range(SLICES)])
    study = _item(ReferencedSOPInstanceUID=f"{ROOT}.1", RTReferencedSeriesSequence=[series])
    frame = _item(FrameOfReferenceUID=f"{ROOT}.3", RTReferencedStudySequence=[study])
    ds.ReferencedFrameOfReferenceSequence = [frame]
    rois, contours, observations = [], [], []
    for number in range(1, ROIS + 1):
        rois.append(_item(ROINumber=number, ROIName=f"ROI {number}", ReferencedFrameOfReferenceUID=f"{ROOT}.3"))
        outlines = []
        for z in range(10 * number, 10 * number + DRAWN_SLICES):
            xyz = np.stack([40 * np.cos(angles), 40 * np.sin(angles), np.full(POINTS, 2.0 * z)], axis=1)
            data = [f"{value:.2f}" for value in xyz.ravel()]
            kind = {"ContourGeometricType": "CLOSED_PLANAR", "NumberOfContourPoints": POINTS, "ContourData": data}
            outlines.append(_item(ContourImageSequence=[_reference(z)], **kind))
        contours.append(_item(ReferencedROINumber=number, ContourSequence=outlines))
        observations.append(
            _item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="ORGAN", ROIInterpreter="")
        )
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = rois, contours, observations
    return _written(ds)


def _reference(z: int) -> Dataset:
    return _item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=_image_uid(z))


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _object(sop_class_uid: str, modality: str) -> Dataset:
    ds = _item(
        SOPClassUID=sop_class_uid,
        SOPInstanceUID=f"{ROOT}.5.{sop_class_uid[-1]}",
        Modality=modality,
        PatientName="Bench",
        PatientID=PATIENT_ID,
        StudyInstanceUID=f"{ROOT}.1",
        SeriesInstanceUID=f"{ROOT}.6.{sop_class_uid[-1]}",
    )
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return ds


def _written(ds: Dataset) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
