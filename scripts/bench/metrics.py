"""Agreement of 20 structures of a 512 x 512 x 200 CT with shifted and cut copies, beside two peers.

    python -m scripts.bench.metrics [--surface-distance PYTHON] [--monai PYTHON] [--structures NAME ...]

`--surface-distance` is the interpreter of an environment with surface-distance 0.1, numpy 1.26 and scipy 1.11 (newer
ones do not run it), `--monai` that of the training install. All compute the same kinds of numbers from the same masks,
one structure after the other, on one thread; times are CPU seconds, as the machine may be shared. Peers get each pair
cut to the box around both, as an experienced user would, and are timed by measure: a user of one measure pays for it
alone. surface-distance shares the distances among its measures; MONAI, as its functions are made, does not.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from contour.core.geometry import Geometry
from contour.core.structures import Structure
from contour.imaging.metrics import Agreement, compare
from scripts.bench.twenty_structures import twenty_structures

TOLERANCE_MM = 2.0

SURFACE_DISTANCE_PROGRAM = """
import surface_distance as sd
tolerance = float(sys.argv[1])
def measures(reference, test, spacing):
    d = yield "distances", lambda: sd.compute_surface_distances(reference, test, spacing)
    yield "dice", lambda: sd.compute_dice_coefficient(reference, test)
    yield "surface_dice", lambda: sd.compute_surface_dice_at_tolerance(d, tolerance)
    yield "hd95_mm", lambda: sd.compute_robust_hausdorff(d, 95)
    yield "hausdorff_mm", lambda: sd.compute_robust_hausdorff(d, 100)
"""

MONAI_PROGRAM = """
import torch
import monai.metrics as mm
torch.set_num_threads(1)
tolerance = float(sys.argv[1])
def measures(reference, test, spacing):
    y, p = (torch.from_numpy(m.astype(np.uint8))[None, None] for m in (reference, test))
    kind = dict(include_background=True, spacing=spacing)
    yield "dice", lambda: mm.compute_dice(p, y, include_background=True)
    yield "surface_dice", lambda: mm.compute_surface_dice(p, y, [tolerance], use_subvoxels=True, **kind)
    yield "surface_dice by points", lambda: mm.compute_surface_dice(p, y, [tolerance], **kind)
    yield "hd95_mm", lambda: mm.compute_hausdorff_distance(p, y, percentile=95, **kind)
    yield "hausdorff_mm", lambda: mm.compute_hausdorff_distance(p, y, **kind)
    yield "mean_surface_distance_mm", lambda: mm.compute_average_surface_distance(p, y, symmetric=True, **kind)
"""

HEAD = """
import json, resource, sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
"""

LOOP = """
seconds, rows = {}, []
for path in sys.argv[2:]:
    pair = np.load(path)
    asked, row, found = measures(pair["reference"], pair["test"], tuple(map(float, pair["spacing"]))), {}, None
    while True:
        try:
            name, work = asked.send(found)
        except StopIteration:
            break
        start = time.process_time()
        found = work()
        seconds[name] = seconds.get(name, 0) + time.process_time() - start
        if name != "distances":
            row[name] = float(found)
    rows.append(row)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"seconds": seconds, "rows": rows, "memory_gb": memory}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--surface-distance", type=Path, help="python of an environment with surface-distance")
    parser.add_argument("--monai", type=Path, help="python of an environment with MONAI")
    parser.add_argument("--structures", nargs="*", metavar="NAME", help="only these of the twenty")
    arguments = parser.parse_args()
    structures = twenty_structures()
    chosen = [s for s in structures.structures if not arguments.structures or s.name in arguments.structures]
    pairs = [(s, changed(s, structures.geometry)) for s in chosen]
    ours, seconds = [], []
    for reference, test in pairs:
        start = time.process_time()
        ours.append(compare(reference, test, structures.geometry, TOLERANCE_MM))
        seconds.append(time.process_time() - start)
    print(f"contour: {sum(seconds):.2f} s for {len(pairs)} structures, slowest {max(seconds):.2f} s")
    programs = (("surface-distance", SURFACE_DISTANCE_PROGRAM), ("monai", MONAI_PROGRAM))
    with tempfile.TemporaryDirectory() as folder:
        paths = [save_pair(Path(folder) / f"{i:02d}.npz", *pair, structures.geometry) for i, pair in enumerate(pairs)]
        for (name, program), python in zip(programs, (arguments.surface_distance, arguments.monai), strict=True):
            if python is not None:
                show_peer(
                    name, [str(python), "-c", HEAD + program + LOOP, str(TOLERANCE_MM)], paths, (ours, sum(seconds))
                )


def changed(structure: Structure, geometry: Geometry) -> Structure:
    """A copy moved by one row and one column, without its first three slices if it has many."""
    mask = structure.mask_zyx.copy()
    if mask.shape[0] > 10:
        mask[:3] = False
    z, y, x = structure.offset_zyx
    room = np.subtract(geometry.shape_zyx, structure.box.stop_zyx)
    return replace(structure, mask_zyx=mask, offset_zyx=(z, y + min(1, int(room[1])), x + min(1, int(room[2]))))


def show_peer(name: str, command: list[str], paths: list[Path], ours: tuple[list[Agreement], float]) -> None:
    """Run the peer's program on the pairs; its times, and how far its numbers are from ours."""
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *map(str, paths)], check=True, capture_output=True, text=True, env=os.environ | threads
    )
    found = json.loads(done.stdout)
    total = sum(found["seconds"].values())
    print(f"{name}: {total:.2f} s, {total / ours[1]:.1f} times as long, peak memory {found['memory_gb']:.2f} GB")
    for measure, seconds in found["seconds"].items():
        field = measure.removesuffix(" by points")
        agreement = ""
        if field in asdict(ours[0][0]):
            apart = [abs(asdict(a)[field] - row[measure]) for a, row in zip(ours[0], found["rows"], strict=True)]
            agreement = f", both within {max(apart):.1e} (median {np.median(apart):.1e})"
        print(f"  {measure}: {seconds:.2f} s{agreement}")


def save_pair(path: Path, reference: Structure, test: Structure, geometry: Geometry) -> Path:
    """Both masks in the box around both, and the spacing."""
    low = np.minimum(reference.offset_zyx, test.offset_zyx)
    high = np.maximum(reference.box.stop_zyx, test.box.stop_zyx)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    masks = [s.full_mask(geometry.shape_zyx)[box] for s in (reference, test)]
    np.savez(path, reference=masks[0], test=masks[1], spacing=geometry.spacing_zyx_mm)
    return path


if __name__ == "__main__":
    main()
