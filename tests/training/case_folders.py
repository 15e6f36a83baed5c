"""Reference cases small enough for a test: two boxes, told apart by their side, and a bar between them."""

from pathlib import Path

import numpy as np

from contour.cases.store import Case, CaseRecord, CaseStructure, Status, save_case
from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume

NAMES = ("Lung_L", "Lung_R", "SpinalCord")


def boxes_case(name: str, seed: int, statuses: dict[str, CaseStructure]) -> Case:
    """A case of 24 x 24 x 32 voxels of 3 mm: boxes at 100 HU, a bar at 300 HU; `statuses` where not drawn whole."""
    rng = np.random.default_rng(seed)
    geometry = Geometry.axial((24, 24, 32), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), f"2.25.{seed + 1}")
    shift = rng.integers(-1, 2, 3)
    masks = {}
    for structure, corner, size in (
        ("Lung_L", (6, 6, 20), (12, 12, 8)),
        ("Lung_R", (6, 6, 4), (12, 12, 8)),
        ("SpinalCord", (0, 17, 14), (24, 4, 4)),
    ):
        mask = np.zeros(geometry.shape_zyx, dtype=bool)
        low = [max(0, c + int(s)) for c, s in zip(corner, shift, strict=True)]
        mask[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))] = True
        masks[structure] = mask
    hu = rng.normal(-600, 60, geometry.shape_zyx)
    hu[masks["Lung_L"] | masks["Lung_R"]] += 500
    hu[masks["SpinalCord"]] += 800
    entries = tuple(statuses.get(n, CaseStructure(n, Status.DRAWN)) for n in NAMES)
    structures = []
    for entry in entries:
        if entry.status is not Status.NOT_DRAWN:
            mask = masks[entry.name]
            if entry.drawn_slices is not None:
                mask = mask.copy()
                mask[: entry.drawn_slices[0]] = False
                mask[entry.drawn_slices[1] + 1 :] = False
            structures.append(Structure(entry.name, (255, 0, 0), InterpretedType.ORGAN, *cropped_to_content(mask)))
    volume = Volume(hu.astype(np.int16), geometry, Modality.CT)
    record = CaseRecord(name, name, Modality.CT, geometry, entries)
    return Case(record, volume, StructureSet(name, geometry, tuple(structures)))


def save_boxes(cases: Path, count: int, withheld: dict[int, dict[str, CaseStructure]] | None = None) -> None:
    """`count` cases named case0, case1 ...; `withheld` says by number what is not drawn whole."""
    for number in range(count):
        save_case(boxes_case(f"case{number}", number, (withheld or {}).get(number, {})), cases)
