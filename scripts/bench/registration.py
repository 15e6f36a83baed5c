"""How far off is an MR that is brought to a CT? Heads whose true motion is known, beside SimpleITK's own recipe.

    python -m scripts.bench.registration --data DATA [--heads seg_17 ...] [--motions 3] [--landmarks drawn|middle]

CT and T1 are made from one label map of a whole head (appearances drawn apart, 1.5 and 1 mm), and the T1 is turned by
up to 12 degrees about each axis and moved by up to 40 mm. Ours starts from what is drawn on both; SimpleITK's recipe,
that of its documentation, from the images' moments. Target registration errors are those of points within 80 mm of the
brain's middle; seconds are of one processor.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from contour.cases.store import Case
from contour.config import load_config
from contour.core.geometry import Geometry
from contour.core.rigid import RigidTransform, fitted
from contour.core.structures import CroppedMask, Structure
from contour.core.volume import Modality, Volume
from contour.imaging.nifti import to_sitk
from contour.imaging.register import Seen, register_rigid
from contour.training.config import TrainingConfig
from scripts.brain_mr import validation as mr_heads
from scripts.brain_mr.prepare import HEADS, HELD_OUT_HEADS
from scripts.head_ct import validation as ct_heads

FRAMES = ("2.25.2", "2.25.1")  # of the MR, of the CT
MOST_DEGREES, MOST_MM, REACH_MM = 12.0, 40.0, 80.0
LANDMARKS = {"drawn": ("Brain", "Brainstem", "Eye_L", "Eye_R"), "middle": ("Brain",)}


@dataclass(frozen=True)
class Pair:
    """A CT and a T1 of one head, what is drawn on each, and the motion from the T1 to the CT."""

    ct: Volume
    mr: Volume
    on_ct: dict[str, Structure]
    on_mr: dict[str, Structure]
    truth: RigidTransform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--heads", nargs="+", default=list(HELD_OUT_HEADS))
    parser.add_argument("--motions", type=int, default=3)
    parser.add_argument("--landmarks", choices=LANDMARKS, default="drawn")
    given = parser.parse_args()
    rng = np.random.default_rng(5)
    print("| head | turned | ours mm, mean/most | ends apart mm | s | SimpleITK's recipe mm, mean/most | s |")
    print("|---|---|---|---|---|---|---|")
    for head in given.heads:
        cases = made(given.data, head)
        for _ in range(given.motions):
            pair = moved(*cases, rng)
            ours, apart_mm, seconds = _ours(pair, LANDMARKS[given.landmarks])
            theirs, their_seconds = _recipe(pair)
            cells = (head, f"{pair.truth.degrees:.0f}", _errors(ours, pair), f"{apart_mm:.1f}", f"{seconds:.0f}")
            print("|", " | ".join((*cells, _errors(theirs, pair), f"{their_seconds:.0f}")), "|", flush=True)


def made(data: Path, head: str) -> tuple[Case, Case]:
    """CT and T1 from one label map; nobody trained on it."""
    ct_config = load_config(Path("configs/training/head_ct.yaml"), TrainingConfig)
    mr_config = load_config(Path("configs/training/brain_mr.yaml"), TrainingConfig)
    synthesis = mr_heads.contrasts(mr_config)["T1"]
    source = data / "brain" / HEADS / head
    return ct_heads.made_head(data, head, ct_config, 1.5), mr_heads.made_head(head, source, synthesis, mr_config)


def moved(ct: Case, mr: Case, rng: np.random.Generator) -> Pair:
    """The T1 in a frame of its own."""
    degrees, shift = rng.uniform(-MOST_DEGREES, MOST_DEGREES, 3), rng.uniform(-MOST_MM, MOST_MM, 3)
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        one[a, a] = one[b, b] = np.cos(angle)
        one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
        turn = one @ turn
    truth = RigidTransform.between(FRAMES, turn, shift)
    there, here = _framed(mr.volume.geometry, FRAMES[1]), _framed(ct.volume.geometry, FRAMES[1])
    return Pair(
        Volume(ct.volume.voxels_zyx, here, Modality.CT),
        Volume(mr.volume.voxels_zyx, truth.inverse.geometry(there), Modality.MR),
        {s.name: s for s in ct.structures.structures},
        {s.name: s for s in mr.structures.structures},
        truth,
    )


def _framed(geometry: Geometry, uid: str) -> Geometry:
    return Geometry(geometry.shape_zyx, geometry.spacing_zyx_mm, geometry.origin_lps_mm, geometry.axes_lps, uid)


def _ours(pair: Pair, landmarks: tuple[str, ...]) -> tuple[RigidTransform, float, float]:
    names = [name for name in landmarks if name in pair.on_ct and name in pair.on_mr]
    start_s = time.process_time()
    middles = [
        np.array([_middle(on[name], volume.geometry) for name in names])
        for on, volume in ((pair.on_mr, pair.mr), (pair.on_ct, pair.ct))
    ]
    fixed, moving = (
        Seen(volume, CroppedMask(on["Brain"].mask_zyx, on["Brain"].offset_zyx))
        for on, volume in ((pair.on_ct, pair.ct), (pair.on_mr, pair.mr))
    )
    found = register_rigid(fixed, moving, fitted(FRAMES, *middles))
    return found.transform, found.disagreement_mm, time.process_time() - start_s


def _middle(structure: Structure, geometry: Geometry) -> np.ndarray:
    return geometry.index_to_lps_mm(np.argwhere(structure.mask_zyx).mean(axis=0) + structure.offset_zyx)


def _recipe(pair: Pair) -> tuple[RigidTransform, float]:
    """Moments, then gradient descent on Mattes' mutual information at three levels, as in SimpleITK's documentation."""
    start_s = time.process_time()
    fixed, moving = (to_sitk(v.voxels_zyx.astype(np.float32), v.geometry) for v in (pair.ct, pair.mr))
    kind = sitk.CenteredTransformInitializerFilter.MOMENTS
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.01, 3)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, 100, 1e-6, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), kind))
    method.SetNumberOfThreads(1)
    found = method.Execute(fixed, moving)
    origin, *ends = (np.asarray(found.TransformPoint(p.tolist())) for p in np.vstack([np.zeros(3), np.eye(3)]))
    to_mr = RigidTransform.between(FRAMES[::-1], np.column_stack([end - origin for end in ends]), origin)
    return to_mr.inverse, time.process_time() - start_s


def _errors(found: RigidTransform, pair: Pair) -> str:
    points = np.random.default_rng(0).normal(size=(500, 3))
    points *= (
        REACH_MM * np.random.default_rng(1).uniform(0, 1, (500, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1)[:, None]
    )
    points = pair.truth.inverse.points(points + _middle(pair.on_ct["Brain"], pair.ct.geometry))
    apart = np.linalg.norm(found.points(points) - pair.truth.points(points), axis=1)
    return f"{apart.mean():.2f} / {apart.max():.2f}"


if __name__ == "__main__":
    main()
