"""Agreement of 20 structures of a 512 x 512 x 200 CT with shifted and cut copies, beside DeepMind's surface-distance.

    python -m scripts.bench.metrics --peer PATH/bin/python

`--peer` is the interpreter of an environment with surface-distance 0.1, numpy 1.26 and scipy 1.11 (newer ones do not
run it). Both compute the same numbers from the same masks, one structure after the other, on one thread; times are CPU
seconds, as the machine may be shared. The peer gets each pair cut to the box around both, as an experienced user would.
"""

import argparse
import json
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

PEER_PROGRAM = """
import json, sys, time
import numpy as np
import surface_distance as sd
timings, rows = [], []
for path in sys.argv[2:]:
    pair = np.load(path)
    reference, test, spacing = pair["reference"], pair["test"], tuple(pair["spacing"])
    start = time.process_time()
    d = sd.compute_surface_distances(reference, test, spacing)
    row = {
        "dice": sd.compute_dice_coefficient(reference, test),
        "surface_dice": sd.compute_surface_dice_at_tolerance(d, float(sys.argv[1])),
        "hd95_mm": sd.compute_robust_hausdorff(d, 95),
        "hausdorff_mm": sd.compute_robust_hausdorff(d, 100),
    }
    timings.append(time.process_time() - start)
    rows.append({k: float(v) for k, v in row.items()})
print(json.dumps([timings, rows]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer", type=Path, help="python of an environment with surface-distance")
    arguments = parser.parse_args()
    structures = twenty_structures()
    pairs = [(s, changed(s, structures.geometry)) for s in structures.structures]
    ours, seconds = [], []
    for reference, test in pairs:
        start = time.process_time()
        ours.append(compare(reference, test, structures.geometry, TOLERANCE_MM))
        seconds.append(time.process_time() - start)
    print(f"contour: {sum(seconds):.2f} s for {len(pairs)} structures, slowest {max(seconds):.2f} s")
    if arguments.peer is not None:
        show_peer(arguments.peer, pairs, structures.geometry, (ours, sum(seconds)))


def changed(structure: Structure, geometry: Geometry) -> Structure:
    """A copy moved by one row and one column, without its first three slices if it has many."""
    mask = structure.mask_zyx.copy()
    if mask.shape[0] > 10:
        mask[:3] = False
    z, y, x = structure.offset_zyx
    room = np.subtract(geometry.shape_zyx, structure.box.stop_zyx)
    return replace(structure, mask_zyx=mask, offset_zyx=(z, y + min(1, int(room[1])), x + min(1, int(room[2]))))


def show_peer(
    python: Path, pairs: list[tuple[Structure, Structure]], geometry: Geometry, ours: tuple[list[Agreement], float]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [save_pair(Path(folder) / f"{i:02d}.npz", *pair, geometry) for i, pair in enumerate(pairs)]
        command = [str(python), "-c", PEER_PROGRAM, str(TOLERANCE_MM), *map(str, paths)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    timings, rows = json.loads(output)
    print(f"surface-distance: {sum(timings):.2f} s, slowest {max(timings):.2f} s: {sum(timings) / ours[1]:.1f} times")
    for name in rows[0]:
        apart = max(abs(asdict(a)[name] - row[name]) for a, row in zip(ours[0], rows, strict=True))
        print(f"  {name}: both within {apart:.1e}")


def save_pair(path: Path, reference: Structure, test: Structure, geometry: Geometry) -> Path:
    low = np.minimum(reference.offset_zyx, test.offset_zyx)
    high = np.maximum(reference.box.stop_zyx, test.box.stop_zyx)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    masks = [s.full_mask(geometry.shape_zyx)[box] for s in (reference, test)]
    np.savez(path, reference=masks[0], test=masks[1], spacing=geometry.spacing_zyx_mm)
    return path


if __name__ == "__main__":
    main()
