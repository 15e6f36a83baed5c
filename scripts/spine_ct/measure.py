"""Whether vertebrae are found and their levels right: drawn ones against placed centres, or against label maps.

    python -m scripts.spine_ct.measure --package models/spine_ct --data DATA

A drawn body counts to the reference whose centre lies in it or nearest to its own; what was drawn twice, or where no
reference is, is said.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.config import load_config
from contour.core.geometry import Geometry
from contour.core.nomenclature import whole_name
from contour.core.structures import Structure
from contour.core.volume import Volume
from contour.dicom.read_series import read_series
from contour.imaging.vertebrae import BODY
from contour.inference.engine import NetworkEngine
from contour.inference.package import load_package
from contour.inference.session import open_network
from contour.library import load_protocol
from contour.pipeline import Drawing, draw_structures
from contour.qa.structures import centroid_lps_mm
from scripts.spine_ct.prepare import read_image, read_label_map
from scripts.spine_ct.validation import tg263_level
from scripts.thorax_ct.drawn import Drawn

PLACED_FOLDER = Path(__file__).parent / "validation"  # centres on cases that never train
NEAR_MM = 12.0  # between a drawn body's centre and the reference's
DICE = "Dice median, worst"
COLUMNS = ("case", "in view", "found", "level stated", "right", "centre error mm", f"body {DICE}", f"whole {DICE}")
LABELLED = ("totalseg_example_3mm", "tptbox_l3_crop")
LEAST_BODY_ML = 1.0  # less of a body at the image's end judges nobody


@dataclass(frozen=True)
class Reference:
    """A vertebra that is known: its level (None where nothing tells it), its body's centre, and what is drawn of it."""

    level: str | None
    centre_lps_mm: NDArray[np.float64]
    body_zyx: NDArray[np.bool_] | None = None
    whole_zyx: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class KnownSpine:
    """An image and its vertebrae."""

    name: str
    volume: Volume
    vertebrae: tuple[Reference, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    print(measure(given.package, given.data))


def measure(package: Path, data: Path) -> str:
    """A Markdown table: a line for each validation case."""
    network = open_network(load_package(package))
    lines = [
        "**Vertebrae found, and levels** (validation cases)",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    notes = []
    for known in validation_spines(data):
        row, said = judged(known, network)
        lines.append(row)
        notes += [f"- {known.name}: {one}" for one in said]
    return "\n".join([*lines, "", *notes])


def validation_spines(data: Path) -> tuple[KnownSpine, ...]:
    """The labelled loins, and the planning CTs of the chest whose centres were placed."""
    found = [_labelled(data, name) for name in LABELLED]
    for path in sorted(PLACED_FOLDER.glob("*.yaml")):
        placed = load_config(path, Drawn)
        volume = read_series(data / "archive" / placed.case).volume
        found.append(KnownSpine(placed.case, volume, _placed(placed, volume.geometry)))
    return tuple(found)


def judged(known: KnownSpine, network: NetworkEngine) -> tuple[str, tuple[str, ...]]:
    """A row of the table, and what is to be said of the case."""
    drawing = draw_structures(known.volume, load_protocol("spine_oar"), (network,))
    pairs, extra = _paired(known, drawing)
    bodies = [(reference, one) for reference, one in pairs if one is not None]
    stated = [(r.level, _level(one)) for r, one in bodies if _level(one) is not None and r.level is not None]
    right = sum(level == said for level, said in stated)
    errors = [_apart_mm(reference, one, drawing) for reference, one in bodies]
    drawn = {whole_name(s.name): s for s in drawing.structures.structures}
    whole = [(r.whole_zyx, drawn[whole_name(one.name).replace("VB_", "Vert_", 1)]) for r, one in bodies]
    cells = (
        known.name,
        str(len(known.vertebrae)),
        str(len(bodies)),
        str(len(stated)),
        str(right),
        f"{np.median(errors):.1f}" if errors else "-",
        _dices([(r.body_zyx, one) for r, one in bodies], known.volume),
        _dices(whole, known.volume),
    )
    said = [f.message for f in drawing.findings if f.code.startswith("levels-")]
    missed = [r.level or "?" for r, one in pairs if one is None]
    said += [f"not found: {', '.join(missed)}"] if missed else []
    said += [f"drawn where no reference is: {', '.join(extra)}"] if extra else []
    wrong = [f"{level} called {name}" for level, name in stated if level != name]
    said += [f"wrong: {', '.join(wrong)}"] if wrong else []
    return f"| {' | '.join(cells)} |", tuple(said)


def _labelled(data: Path, name: str) -> KnownSpine:
    """A case with a label map; where no cord is labelled, nothing tells body from arch."""
    volume, labels = read_image(data, name), read_label_map(data, name)
    parts = labels.parts() if labels.mask("spinal_cord").any() else None
    found = []
    for level, value in labels.vertebrae:
        whole = labels.labels_zyx == value
        body = whole & np.isin(parts, BODY) if parts is not None else _front_half(whole)
        if body.sum() * labels.geometry.voxel_ml < LEAST_BODY_ML:
            continue
        centre = np.asarray(labels.geometry.index_to_lps_mm(np.argwhere(body).mean(axis=0)))
        found.append(Reference(tg263_level(level), centre, body if parts is not None else None, whole))
    return KnownSpine(name, volume, tuple(found))


def _front_half(whole_zyx: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The half of the voxels that lies in front: about the body."""
    front = whole_zyx.copy()
    front[:, int(np.median(np.nonzero(whole_zyx)[1])) :] = False
    return front


def _placed(placed: Drawn, geometry: Geometry) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            tg263_level(v.level) if v.level else None, np.asarray(geometry.index_to_lps_mm(np.array(v.centre_zyx)))
        )
        for v in placed.vertebrae
    )


def _paired(
    known: KnownSpine, drawing: Drawing
) -> tuple[tuple[tuple[Reference, Structure | None], ...], tuple[str, ...]]:
    """Each reference with the nearest drawn body, one to one, and the names of the bodies that are left."""
    bodies = [s for s in drawing.structures.structures if whole_name(s.name).startswith("VB_") and not s.empty]
    left = list(bodies)
    pairs: list[tuple[Reference, Structure | None]] = []
    for reference in known.vertebrae:
        near = [one for one in left if _apart_mm(reference, one, drawing) <= NEAR_MM]
        best = min(near, key=lambda one: _apart_mm(reference, one, drawing), default=None)
        if best is not None:
            left.remove(best)
        pairs.append((reference, best))
    return tuple(pairs), tuple(one.name for one in left)


def _apart_mm(reference: Reference, drawn: Structure, drawing: Drawing) -> float:
    return float(np.linalg.norm(centroid_lps_mm(drawn, drawing.structures) - reference.centre_lps_mm))


def _level(drawn: Structure) -> str | None:
    level = whole_name(drawn.name).removeprefix("VB_")
    return None if level.startswith("unknown") else level


def _dices(pairs: list[tuple[NDArray[np.bool_] | None, Structure]], volume: Volume) -> str:
    """Median and least Dice of the drawn ones whose reference was drawn."""
    found = []
    for reference, drawn in pairs:
        if reference is not None:
            mask = drawn.full_mask(volume.geometry.shape_zyx)
            found.append(float(2 * (mask & reference).sum() / (mask.sum() + reference.sum())))
    return f"{np.median(found):.3f}, {min(found):.3f}" if found else "-"


if __name__ == "__main__":
    main()
