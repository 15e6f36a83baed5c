"""An imported package beside nnU-Net's own predictor with the same weights: how alike they draw, how fast, how large.

    python -m scripts.bench.imported MODEL_FOLDER IMAGE ... --python PYTHON_OF_NNUNET [--fold 0] [--single]
        [--engine cpu openvino openvino-bf16] [--overlap 0.5 0.25]

MODEL_FOLDER is a trained-model folder of nnU-Net v2, PYTHON_OF_NNUNET the interpreter of an environment that has it,
and each IMAGE a CT: a NIfTI file or a folder with one DICOM series. The package is made anew. All contenders begin with
the image in memory, canonically oriented, and with the network loaded, and end with masks on the image's grid. They run
on the processor with the same number of threads, one after the other, each in a process of its own, and nnU-Net does
not mirror. Dice is between the two drawings, per structure; on a structure that both leave out it is 1. `contour` runs
once in each engine with each overlap of patches; nnU-Net's overlap is a half. nnU-Net adds up logits in half precision,
in which patches that barely count round away; with `--single` it adds in single precision.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.imaging.nifti import read_nifti
from contour.imaging.preprocess import canonical_geometry, to_canonical
from contour.inference.package import load_package
from contour.inference.predict import PredictOptions, predict
from contour.inference.session import Engine, SessionOptions, open_network

PEER = Path(__file__).with_name("nnunet_peer.py")
PACKAGE = "imported"


@dataclass(frozen=True)
class Outcome:
    """What a contender took for one image, and the bytes of its weights on disk."""

    seconds: float
    processor_seconds: float
    peak_gb: float
    bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--python", type=Path, help="the interpreter of an environment with nnunetv2")
    parser.add_argument("--fold", nargs="+", default=["0"])
    parser.add_argument("--checkpoint", default="checkpoint_final.pth")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", type=Engine, nargs="+", default=[Engine.CPU])
    parser.add_argument("--overlap", type=float, nargs="+", default=[0.5])
    parser.add_argument("--single", action="store_true", help="nnU-Net's sums in single precision")
    parser.add_argument("--whole-image", action="store_true", help="run patches outside the body too")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        contend(arguments)
        return
    if arguments.python is None:
        parser.error("--python is needed")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        names = import_model(arguments, work)
        for image in arguments.images:
            compare(image, names, arguments, work)


def import_model(arguments: argparse.Namespace, work: Path) -> list[str]:
    """The package in `work`, and the structures it draws."""
    code = "from contour.cli.main import run; run()"
    options = ["--checkpoint", arguments.checkpoint, *(part for fold in arguments.fold for part in ("--fold", fold))]
    command = [sys.executable, "-c", code, "models", "import", "nnunet", str(arguments.model), "--output", str(work)]
    subprocess.run([*command, "--name", PACKAGE, *options, "--json"], check=True, capture_output=True)
    return list(load_package(work / PACKAGE).manifest.names)


def compare(image: Path, names: list[str], arguments: argparse.Namespace, work: Path) -> None:
    write_volume(load_image(image), work)
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads), "CUDA_VISIBLE_DEVICES": ""}
    peer_command = [
        arguments.python,
        PEER,
        arguments.model,
        work / "image.npz",
        work / "peer.npz",
        arguments.checkpoint,
    ]
    peer_command += ["single" if arguments.single else "half", *arguments.fold]
    peer = outcome([str(part) for part in peer_command], environment)
    theirs = load_drawn(work / "peer.npz")
    print(f"{image}\n  nnU-Net: {said(peer)}", flush=True)
    for engine, overlap in product(arguments.engine, arguments.overlap):
        command = [
            sys.executable,
            "-m",
            "scripts.bench.imported",
            str(arguments.model),
            str(image),
            "--work",
            str(work),
        ]
        command += ["--threads", str(arguments.threads), *(["--whole-image"] if arguments.whole_image else [])]
        ours = outcome([*command, "--engine", engine, "--overlap", str(overlap)], environment)
        drawn = load_drawn(work / "contour.npz")
        dice = {name: agreement(x, y) for name, x, y in zip(names, theirs, drawn, strict=True)}
        print(f"  contour, {engine}, overlap {overlap:g}: {said(ours)}")
        print(
            f"    nnU-Net takes {peer.seconds / ours.seconds:.2f} of the time, "
            f"{peer.processor_seconds / ours.processor_seconds:.2f} of the processors', "
            f"{peer.peak_gb / ours.peak_gb:.2f} of the memory, {peer.bytes / ours.bytes:.2f} of the disk"
        )
        for (name, value), x in zip(dice.items(), theirs, strict=True):
            print(f"      {name:16s} {value:.5f}  {int(x.sum())} voxels")
        print(f"      least Dice {min(dice.values()):.5f}", flush=True)


def said(one: Outcome) -> str:
    return (
        f"{one.seconds:.1f} s, {one.processor_seconds:.1f} processor s, peak {one.peak_gb:.2f} GB, "
        f"weights {one.bytes / 1e6:.1f} MB"
    )


def outcome(command: list[str], environment: dict[str, str]) -> Outcome:
    finished = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if finished.returncode:
        raise SystemExit(finished.stderr)
    return Outcome(**json.loads(finished.stdout.splitlines()[-1]))


def contend(arguments: argparse.Namespace) -> None:
    """Our side: draw what is in `work`, and print what it took."""
    volume = read_volume(arguments.work)
    package = load_package(arguments.work / PACKAGE)
    network = open_network(package, SessionOptions(engine=arguments.engine[0], threads=arguments.threads))
    started, processor = time.perf_counter(), time.process_time()
    options = PredictOptions(overlap=arguments.overlap[0], body_only=not arguments.whole_image)
    found = predict(network, volume, network.manifest.names, options=options)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor
    drawn = np.zeros((len(found), *volume.geometry.shape_zyx), dtype=bool)
    for mask, one in zip(drawn, found, strict=True):
        box = tuple(slice(a, a + n) for a, n in zip(one.offset_zyx, one.mask_zyx.shape, strict=True))
        mask[box] = one.mask_zyx
    np.savez_compressed(arguments.work / "contour.npz", drawn=np.packbits(drawn, axis=-1), width=drawn.shape[-1])
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps(asdict(Outcome(seconds, processor_seconds, peak_gb, package.onnx_path.stat().st_size))))


def load_image(path: Path) -> Volume:
    """A CT, canonically oriented."""
    volume = read_series(path).volume if path.is_dir() else read_nifti(path, Modality.CT, "2.25.1")
    voxels = np.ascontiguousarray(to_canonical(volume.voxels_zyx, volume.geometry))
    return Volume(voxels, canonical_geometry(volume.geometry), volume.modality)


def write_volume(volume: Volume, work: Path) -> None:
    geometry = volume.geometry
    np.savez(work / "image.npz", voxels_zyx=volume.voxels_zyx, spacing_zyx_mm=geometry.spacing_zyx_mm)


def read_volume(work: Path) -> Volume:
    with np.load(work / "image.npz") as stored:
        voxels = stored["voxels_zyx"]
        z, y, x = (float(mm) for mm in stored["spacing_zyx_mm"])
    depth, height, width = voxels.shape
    return Volume(voxels, Geometry.axial((depth, height, width), (z, y, x), (0.0, 0.0, 0.0), "2.25.1"), Modality.CT)


def load_drawn(path: Path) -> NDArray[np.bool_]:
    with np.load(path) as stored:
        return np.unpackbits(stored["drawn"], axis=-1, count=int(stored["width"])).astype(bool)


def agreement(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    together = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / together if together else 1.0


if __name__ == "__main__":
    main()
