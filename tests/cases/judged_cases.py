"""Cases whose agreement with a network is known: balls, shells and rods that a network finds by their HU."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tiny_networks

from contour.cases.store import Case, CaseRecord, CaseStructure, Status, save_case
from contour.core.geometry import Geometry
from contour.core.structures import InterpretedType, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.imaging.preprocess import Preprocessing
from contour.inference.package import Label, ModelPackage
from contour.inference.session import Engine, Network, SessionOptions, open_network

LUNG_HU, BONE_HU = -700, 400
BORDERS_HU = (-930.0, -400.0, 250.0)  # air, lung, soft tissue, bone


@dataclass(frozen=True)
class Room:
    """A grid of 1 mm, what the network works on: it sees the image itself."""

    shape_zyx: tuple[int, int, int]

    @property
    def geometry(self) -> Geometry:
        return Geometry.axial(self.shape_zyx, (1.0, 1.0, 1.0), (-46.0, -44.0, 100.0), "2.25.501")

    @property
    def nothing(self) -> np.ndarray:
        return np.zeros(self.shape_zyx, dtype=bool)

    def ball(self, radius_mm: float, shift_zyx_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
        """A ball around the middle, or shifted from there."""
        z, y, x = self._offsets_mm(tuple(n // 2 + s for n, s in zip(self.shape_zyx, shift_zyx_mm, strict=True)))
        return np.asarray(z**2 + y**2 + x**2 <= radius_mm**2)

    def rod(self, radius_mm: float, first: int, last: int, shift_yx_mm=(0.0, 0.0)) -> np.ndarray:
        """A rod along z from slice `first` to slice `last`."""
        _, y, x = self._offsets_mm((0, *(n // 2 + s for n, s in zip(self.shape_zyx[1:], shift_yx_mm, strict=True))))
        mask = self.nothing
        mask[first : last + 1] = (y**2 + x**2 <= radius_mm**2)[0]
        return mask

    def image(self, lung: np.ndarray | None = None, bone: np.ndarray | None = None) -> Volume:
        """Soft tissue in air, and in it lung and bone."""
        voxels = np.full(self.shape_zyx, -1000, dtype=np.int16)
        voxels[2:-2, 3:-3, 3:-3] = 20
        for mask, value in ((lung, LUNG_HU), (bone, BONE_HU)):
            if mask is not None:
                voxels[mask] = value
        return Volume(voxels, self.geometry, Modality.CT)

    def _offsets_mm(self, centre_zyx) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        z, y, x = (np.arange(n, dtype=float) - c for n, c in zip(self.shape_zyx, centre_zyx, strict=True))
        return z[:, None, None], y[None, :, None], x[None, None, :]


ROOM = Room((40, 44, 46))
HALL = Room((72, 88, 92))


def save(
    cases: Path,
    name: str,
    volume: Volume,
    drawn: Mapping[str, np.ndarray],
    *,
    parts: Mapping[str, tuple[int, int]] | None = None,
    patient: str | None = None,
) -> Path:
    """A case with the masks `drawn`; those in `parts` were drawn between these slices only."""
    parts = parts or {}
    structures = tuple(
        Structure(n, (255, 0, 0), InterpretedType.ORGAN, *cropped_to_content(mask)) for n, mask in drawn.items()
    )
    entries = tuple(
        CaseStructure(n, Status.PARTIAL if n in parts else Status.DRAWN, drawn_slices=parts.get(n)) for n in drawn
    )
    record = CaseRecord(name, patient or f"patient-{name}", Modality.CT, volume.geometry, entries)
    save_case(Case(record, volume, StructureSet("x", volume.geometry, structures)), cases)
    return cases / name


def package(folder: Path) -> ModelPackage:
    """A package that draws lung as Lungs and bone as Bone, exactly."""
    slopes = [0.02 * i for i in range(len(BORDERS_HU) + 1)]
    intercepts = [-0.02 * sum(BORDERS_HU[:i]) for i in range(len(BORDERS_HU) + 1)]
    labels = (Label(1, "Lungs"), Label(3, "Bone"))
    prepared = Preprocessing(spacing_zyx_mm=(1.0, 1.0, 1.0), clip=(-1024.0, 3000.0), mean=0.0, std=1.0)
    network = tiny_networks.linear_network(slopes, intercepts)
    return tiny_networks.make_package(folder, network, labels, (40, 48, 48), prepared)


def opened(found: ModelPackage) -> Network:
    return open_network(found, SessionOptions(Engine.CPU, 1))


def renamed(found: ModelPackage, version: str) -> ModelPackage:
    """The same network as another version."""
    return replace(found, manifest=replace(found.manifest, version=version))
