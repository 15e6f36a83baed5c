"""Branching vessels for the lungs of a phantom."""

import numpy as np
from numpy.typing import NDArray

from contour.imaging.solids import Distance, Points, Tube

LEAF_RADIUS_MM = 0.7


def vessel_tree(
    inside: Distance,
    box_xyz_mm: tuple[NDArray[np.float64], NDArray[np.float64]],
    root_xyz_mm: tuple[float, float, float],
    leaves: int,
    rng: np.random.Generator,
) -> list[Tube]:
    """Tubes that branch from the root to `leaves` places inside a solid; radii add up by Murray's law (r^3)."""
    targets = _places(inside, box_xyz_mm, leaves, rng)
    root = np.asarray(root_xyz_mm, dtype=float)
    targets = targets[np.argsort(np.linalg.norm(targets - root, axis=1))]
    points, parents, path = [root], [-1], [0.0]
    for target in targets:
        known = np.array(points)
        apart = np.linalg.norm(known - target, axis=1)
        # Short branches, but no long detours either: between a spanning tree and a star.
        parent = int(np.argmin(apart + 0.45 * np.array(path)))
        bend = (known[parent] + target) / 2 + rng.normal(scale=0.07 * apart[parent], size=3)
        for point, before in ((bend, parent), (target, len(points))):
            points.append(point)
            parents.append(before)
            path.append(path[before] + float(np.linalg.norm(point - points[before])))
    return _as_tubes(np.array(points), np.array(parents))


def _as_tubes(points: NDArray[np.float64], parents: NDArray[np.intp]) -> list[Tube]:
    has_child = np.isin(np.arange(len(points)), parents)
    cubes = np.where(has_child, 0.0, LEAF_RADIUS_MM**3)
    for i in range(len(points) - 1, 0, -1):  # a parent comes before its children
        cubes[parents[i]] += cubes[i]
    radii = np.cbrt(cubes)
    # A branch is as wide as its own flow asks, from its start on.
    return [Tube(points[[parents[i], i]], np.array([radii[i], radii[i]])) for i in range(1, len(points))]


def _places(
    inside: Distance, box_xyz_mm: tuple[NDArray[np.float64], NDArray[np.float64]], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    low, high = box_xyz_mm
    tries = rng.uniform(low, high, size=(count * 14, 3))
    kept = tries[inside(Points.of(tries)) < -3.0]
    return kept[:count]
