"""A whole CT through one network: `contour` in each engine beside MONAI's sliding-window inferer, the same weights.

    python -m scripts.bench.inference [--series FOLDER] [--filters 16 32 64 128] [--patch 96 96 96] [--spacing 3]

The work starts with the CT in memory and ends with one mask per structure on the CT's grid. Each contender runs in a
process of its own, and its peak memory is that whole process's. Seconds are processor seconds of all threads: on a
machine that is busy with other things only they can be compared. The network is a DynUNet with random weights whose
logits are added, scaled down, to bands of smoothed HU: its cost is a trained network's, and its structures are as
smooth as organs. The peer gets our prepared image, cut to our box around the body, so that both run about the same
number of patches; it brings the logits back to the CT's grid by trilinear interpolation and takes the argmax, as
MONAI's bundles do. Without `--series` the CT is 512 x 512 x 200, painted from the structures the other benchmarks use.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.imaging.preprocess import Preprocessing, canonical_geometry, network_grid, preprocess
from contour.inference.package import Label, Manifest, Training, load_package, write_manifest
from contour.inference.predict import PredictOptions, predict
from contour.inference.region import around_body, box_of
from contour.inference.session import Engine, Network, SessionOptions, available_engines, open_network
from scripts.bench.twenty_structures import twenty_structures

PEER = "monai"
CHANNELS = 16
THREADS = 2
OVERLAP = 0.25
PAINTED_HU = {
    "Body": -60,
    "Lung_L": -820,
    "Lung_R": -820,
    "Heart": 60,
    "Liver": 110,
    "Spleen": 130,
    "SpinalCord": 30,
    "Esophagus": 20,
    "Trachea": -990,
    "Aorta": 180,
}


@dataclass(frozen=True)
class Outcome:
    """What a contender took, and the voxels of its structures."""

    seconds: float
    seconds_network: float
    patches: int
    peak_gb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=Path, help="a folder with one CT series")
    parser.add_argument("--filters", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--patch", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender is not None:
        contend(arguments.contender, arguments.work)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_volume(read_series(arguments.series).volume if arguments.series else painted_ct(), work)
        export(arguments, work)
        ours = [engine for engine in available_engines() if engine is not Engine.TENSORRT]
        outcomes = {name: outcome(name, work) for name in (*ours, PEER)}
        show(outcomes, work)


def outcome(contender: str, work: Path) -> Outcome:
    command = [sys.executable, "-m", "scripts.bench.inference", "--contender", contender, "--work", str(work)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    return Outcome(**json.loads(finished.stdout.splitlines()[-1]))


def show(outcomes: dict[str, Outcome], work: Path) -> None:
    for name, o in outcomes.items():
        around = o.seconds - o.seconds_network
        print(
            f"{name}: {o.seconds:.1f} processor s, of which {o.patches} patches {o.seconds_network:.1f} s and the rest "
            f"{around:.2f} s; peak {o.peak_gb:.2f} GB"
        )
    peer = outcomes.pop(PEER)
    truth = np.load(work / f"{Engine.CPU}.npy")
    for name, ours in outcomes.items():
        rest = (peer.seconds - peer.seconds_network) / (ours.seconds - ours.seconds_network)
        network = peer.seconds_network / peer.patches / (ours.seconds_network / ours.patches)
        print(f"MONAI / {name}: whole {peer.seconds / ours.seconds:.1f}, a patch {network:.1f}, ", end="")
        print(f"around the network {rest:.1f}, memory {peer.peak_gb / ours.peak_gb:.1f}")
    for name in (*outcomes, PEER):
        labels = np.load(work / f"{name}.npy")
        dice = [_dice(truth == c, labels == c) for c in np.unique(truth)]
        same = np.mean(truth == labels)
        print(f"{name} and {Engine.CPU}: {same:.5f} of the voxels, least Dice {min(dice):.4f} of {len(dice)} labels")


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * np.sum(a & b) / (np.sum(a) + np.sum(b)))


def contend(contender: str, work: Path) -> None:
    volume = read_volume(work)
    result = monai_labels(volume, work) if contender == PEER else contour_labels(volume, work, Engine(contender))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    labels, seconds, network_seconds = result
    np.save(work / f"{contender}.npy", labels)
    timings = {"seconds": seconds, "seconds_network": sum(network_seconds), "patches": len(network_seconds)}
    print(json.dumps({**timings, "peak_gb": peak_gb}))


def contour_labels(volume: Volume, work: Path, engine: Engine) -> tuple[NDArray[np.uint8], float, list[float]]:
    network = TimedNetwork(open_network(load_package(work), SessionOptions(engine, threads=THREADS)))
    start = time.process_time()
    drawn = predict(network, volume, network.manifest.names, options=PredictOptions(overlap=OVERLAP))
    seconds = time.process_time() - start
    labels = np.zeros(volume.geometry.shape_zyx, dtype=np.uint8)
    for channel, structure in enumerate(drawn, start=1):
        box = tuple(slice(a, a + n) for a, n in zip(structure.offset_zyx, structure.mask_zyx.shape, strict=True))
        labels[box][structure.mask_zyx] = channel
    return labels, seconds, network.seconds


class TimedNetwork(Network):
    """A network that keeps the seconds of every patch."""

    def __init__(self, network: Network) -> None:
        self.__dict__.update(network.__dict__)
        self.seconds: list[float] = []

    def run(self, images_nzyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Network.run`."""
        start = time.process_time()
        logits = super().run(images_nzyx)
        self.seconds.append(time.process_time() - start)
        return logits


def monai_labels(volume: Volume, work: Path) -> tuple[NDArray[np.uint8], float, list[float]]:
    import torch  # noqa: PLC0415  # the peer's process only
    from monai.inferers.inferer import SlidingWindowInferer  # noqa: PLC0415
    from torch.nn.functional import interpolate  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    manifest = load_package(work).manifest
    network = build(json.loads((work / "filters.json").read_text()))
    network.load_state_dict(torch.load(work / "network.pt"))
    network.eval()
    inferer = SlidingWindowInferer(manifest.patch_shape_zyx, sw_batch_size=1, overlap=OVERLAP, mode="gaussian")
    patches: list[float] = []

    def timed(image: torch.Tensor) -> torch.Tensor:
        start = time.process_time()
        logits: torch.Tensor = network(image)
        patches.append(time.process_time() - start)
        return logits

    start = time.process_time()
    grid = network_grid(volume.geometry, manifest.preprocessing)
    box = box_of(around_body(volume, grid), manifest.patch_shape_zyx)
    prepared = preprocess(volume, manifest.preprocessing, box)
    with torch.inference_mode():
        image = torch.from_numpy(prepared.values_zyx)[None, None]
        logits = torch.full((1, CHANNELS, *grid.shape_zyx), -10.0)
        logits[:, 0] = 10.0
        logits[(slice(None), slice(None), *box.slices)] = inferer(image, timed)
        whole = interpolate(logits, size=canonical_geometry(volume.geometry).shape_zyx, mode="trilinear")
        labels = whole.argmax(dim=1)[0].to(torch.uint8).numpy()
        masks = [labels == channel for channel in range(1, CHANNELS)]
    seconds = time.process_time() - start
    assert len(masks) == CHANNELS - 1
    return labels, seconds, patches


def build(filters: list[int]):  # type: ignore[no-untyped-def]  # torch is the peer's, not known here
    """The network: a DynUNet and bands of smoothed input."""
    import torch  # noqa: PLC0415
    from monai.networks.nets.dynunet import DynUNet  # noqa: PLC0415

    class Bands(torch.nn.Module):  # type: ignore[misc]  # Any here
        def __init__(self) -> None:
            super().__init__()
            n = len(filters)
            strides = [1] + [2] * (n - 1)
            self.network = DynUNet(3, 1, CHANNELS, [3] * n, strides, strides[1:], filters=filters, norm_name="instance")
            centres = torch.linspace(-0.8, 1.2, CHANNELS - 1)
            bias = torch.cat([torch.tensor([-2.5]), -5 * centres**2])
            self.register_buffer("slope", torch.cat([torch.zeros(1), 10 * centres]).view(1, -1, 1, 1, 1))
            self.register_buffer("bias", bias.view(1, -1, 1, 1, 1))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            smooth = torch.nn.functional.avg_pool3d(image, 5, 1, 2)
            logits: torch.Tensor = self.network(image) * 0.01 + smooth * self.slope + self.bias
            return logits

    torch.manual_seed(0)
    return Bands()


def export(arguments: argparse.Namespace, work: Path) -> None:
    """Write the package, the torch weights and what is needed to build the network again."""
    import torch  # noqa: PLC0415

    from contour.training.export import export_onnx  # noqa: PLC0415 - only this process may load torch

    network = build(arguments.filters).eval()
    export_onnx(network, torch.randn(1, 1, *arguments.patch), work / "model.onnx")
    torch.save(network.state_dict(), work / "network.pt")
    (work / "filters.json").write_text(json.dumps(arguments.filters))
    (work / "CARD.md").write_text("# Random weights, for a benchmark\n")
    z, y, x = arguments.patch
    manifest = Manifest(
        name="benchmark",
        version="0",
        title="Random weights",
        modality=Modality.CT,
        onnx_sha256=hashlib.sha256((work / "model.onnx").read_bytes()).hexdigest(),
        licence="none",
        patch_shape_zyx=(z, y, x),
        preprocessing=Preprocessing((arguments.spacing,) * 3, (-1000.0, 1000.0), 0.0, 500.0),
        labels=tuple(Label(c, f"S{c}") for c in range(1, CHANNELS)),
        training=Training((), (), "none: random"),
    )
    write_manifest(manifest, work)


def painted_ct() -> Volume:
    structures = twenty_structures()
    voxels = np.full(structures.geometry.shape_zyx, -1000, dtype=np.int16)
    for structure in structures.structures:
        if structure.name in PAINTED_HU:
            voxels[structure.box.slices][structure.mask_zyx] = PAINTED_HU[structure.name]
    noise = np.random.default_rng(0).integers(-20, 21, size=voxels.shape[1:], dtype=np.int16)
    voxels += noise
    # Spacings at which the network's 3 mm grid shares the CT's borders: the peer's interpolation knows no other offset.
    geometry = replace(structures.geometry, spacing_zyx_mm=(1.995, 0.984375, 0.984375))
    return Volume(voxels, geometry, Modality.CT)


def write_volume(volume: Volume, work: Path) -> None:
    g = volume.geometry
    np.save(work / "voxels.npy", volume.voxels_zyx)
    np.savez(work / "geometry.npz", spacing=g.spacing_zyx_mm, origin=g.origin_lps_mm, axes=g.axes_lps)


def read_volume(work: Path) -> Volume:
    voxels, stored = np.load(work / "voxels.npy"), np.load(work / "geometry.npz")
    z_axis, y_axis, x_axis = (tuple(axis) for axis in stored["axes"])
    axes = (z_axis, y_axis, x_axis)
    geometry = Geometry(voxels.shape, tuple(stored["spacing"]), tuple(stored["origin"]), axes, "1.2.3")
    return Volume(voxels, geometry, Modality.CT)


if __name__ == "__main__":
    main()
