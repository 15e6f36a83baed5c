"""Tracing and rasterising 20 structures of a 512 x 512 x 200 CT, beside contourpy's exact iso-0.5 contours.

    python -m scripts.bench.contours [--peer]

Times are CPU seconds (the machine may be shared), the best of three; memory is the peak of the process above what it
held with the masks loaded.
"""

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from contour.core.structures import StructureSet
from contour.imaging.contours import Contours, TraceOptions, trace
from contour.imaging.rasterise import rasterise
from scripts.bench.twenty_structures import SHAPE_ZYX, SPACING_ZYX_MM, twenty_structures

SPACING_YX_MM = SPACING_ZYX_MM[1:]
ROUNDS = 3
OPTIONS = {
    "exact": TraceOptions(),
    "smoothed 0.3 mm": TraceOptions(SPACING_YX_MM, smoothing_mm=0.3),
    "smoothed 0.3 mm, decimated 0.1 mm": TraceOptions(SPACING_YX_MM, smoothing_mm=0.3, decimation_mm=0.1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer", action="store_true", help="trace with contourpy too")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(1) as maker:  # making them takes more memory than what is measured here
        structures = maker.submit(twenty_structures).result()
    before_mb = peak_mb()
    for name, options in OPTIONS.items():
        show(name, structures, options)
    print(f"memory: {peak_mb() - before_mb:.0f} MB more at the peak")
    if arguments.peer:
        show_contourpy(structures)


def show(name: str, structures: StructureSet, options: TraceOptions) -> None:
    traced, filled = float("inf"), float("inf")
    contours: list[Contours] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        contours = [trace(s.mask_zyx, s.offset_zyx, options) for s in structures.structures]
        middle = time.process_time()
        masks = [rasterise(c, SHAPE_ZYX[1:]) for c in contours]
        traced, filled = min(traced, middle - start), min(filled, time.process_time() - middle)
    same = all(
        np.array_equal(mask, s.mask_zyx) and offset == s.offset_zyx
        for (mask, offset), s in zip(masks, structures.structures, strict=True)
    )
    points = sum(len(c.points_yx) for c in contours)
    print(f"{name}: traced {traced:.2f} s, rasterised {filled:.2f} s, {points} points, same voxels: {same}")


def show_contourpy(structures: StructureSet) -> None:
    import contourpy  # noqa: PLC0415  # the peer is there on request only

    start = time.process_time()
    points = 0
    for structure in structures.structures:
        for slice_yx in structure.mask_zyx:
            padded = np.pad(slice_yx, 1).astype(float)
            points += sum(len(line) for line in contourpy.contour_generator(z=padded).lines(0.5))
    print(f"contourpy: traced {time.process_time() - start:.2f} s, {points} points")


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
