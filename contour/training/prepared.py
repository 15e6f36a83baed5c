"""Prepared cases: what a network learns from, on its own grid, stored without pickle."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.cases.store import Case, CaseRecord, Status
from contour.core.geometry import Geometry
from contour.core.volume import Volume
from contour.imaging.preprocess import (
    Preprocessing,
    canonical_axes,
    canonical_geometry,
    network_grid,
    preprocess,
    to_canonical,
)
from contour.imaging.resample import resample_linear
from contour.training.config import TrainedLabel

UNKNOWN = 255


@dataclass(frozen=True)
class PreparedCase:
    """An image and its labels on the network's grid.

    `image_zyx` is the preprocessed image (float16, enough for values near 0 with a spread of 1); `labels_zyx` (uint8)
    holds 0 for background, i for the i-th label, and 255 where the label is unknown. `regions_zyx` (uint8) says in
    which row of `drawn` (regions, labels) each voxel looks up which labels are complete there: where a label is not,
    background means "background or one of those".

    A case without an image has `tissues_zyx` instead (uint8, codes of `SynthesisConfig.tissues`), from which every
    patch is given an appearance of its own; its `image_zyx` has no voxels.
    """

    name: str
    image_zyx: NDArray[np.float16]
    labels_zyx: NDArray[np.uint8]
    regions_zyx: NDArray[np.uint8]
    drawn: NDArray[np.bool_]
    tissues_zyx: NDArray[np.uint8] | None = None

    @property
    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What is stored of the case, by name."""
        stored = {name: getattr(self, name) for name in ("image_zyx", "labels_zyx", "regions_zyx", "drawn")}
        return stored if self.tissues_zyx is None else {**stored, "tissues_zyx": self.tissues_zyx}


def save_prepared(case: PreparedCase, path: Path) -> None:
    """Writes the case as a compressed `.npz`; a partial file never bears the final name."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, name=np.array(case.name), **case.arrays)  # type: ignore[arg-type]  # its stubs do not know
    part.replace(path)


def load_prepared(path: Path) -> PreparedCase:
    """The prepared case stored at `path`."""
    with np.load(path, allow_pickle=False) as stored:
        return PreparedCase(
            name=str(stored["name"]),
            image_zyx=stored["image_zyx"],
            labels_zyx=stored["labels_zyx"],
            regions_zyx=stored["regions_zyx"],
            drawn=stored["drawn"],
            tissues_zyx=stored.get("tissues_zyx"),
        )


def prepare_case(case: Case, labels: tuple[TrainedLabel, ...], preprocessing: Preprocessing) -> PreparedCase:
    """The case as a network with `labels` sees it; where masks overlap, the later label counts.

    A label whose sources were drawn between two slices only is incomplete beyond them, and so is, everywhere, one of
    whose sources any was not drawn: none of these teaches background.
    """
    prepared = preprocess(case.volume, preprocessing)
    values = _label_map(case, labels)
    regions, drawn = _regions(case.record, labels)
    return PreparedCase(
        case.record.name,
        prepared.values_zyx.astype(np.float16),
        resample_labels(values, case.volume.geometry, prepared.geometry),
        _resample_slices(regions, case.volume.geometry, prepared.geometry),
        drawn,
    )


def prepare_label_map(
    name: str,
    volume: Volume,
    labels_zyx: NDArray[np.uint8],
    drawn: NDArray[np.bool_],
    preprocessing: Preprocessing,
) -> PreparedCase:
    """A prepared case from an image and a label map on its grid (0, label values, 255 for unknown).

    `drawn` (labels,) says which labels are complete in all of the image.
    """
    prepared = preprocess(volume, preprocessing)
    labels = resample_labels(labels_zyx, volume.geometry, prepared.geometry)
    regions = np.zeros(labels.shape, dtype=np.uint8)
    return PreparedCase(name, prepared.values_zyx.astype(np.float16), labels, regions, drawn[None])


def prepare_tissue_map(
    name: str,
    tissues: Volume,
    labels_zyx: NDArray[np.uint8],
    drawn: NDArray[np.bool_],
    preprocessing: Preprocessing,
) -> PreparedCase:
    """A prepared case without an image: `tissues` (codes as voxels, uint8) and labels on one grid.

    Labels and `drawn` are as in `prepare_label_map`.
    """
    target = network_grid(tissues.geometry, preprocessing)
    labels = resample_labels(labels_zyx, tissues.geometry, target)
    codes = resample_labels(tissues.voxels_zyx.astype(np.uint8), tissues.geometry, target)
    regions = np.zeros(labels.shape, dtype=np.uint8)
    return PreparedCase(name, np.zeros((0, 0, 0), dtype=np.float16), labels, regions, drawn[None], codes)


def resample_labels(labels_zyx: NDArray[np.uint8], geometry: Geometry, target: Geometry) -> NDArray[np.uint8]:
    """The label with the largest share of each voxel of `target`, a canonical grid, from labels on `geometry`.

    Shares are resampled linearly one label at a time, so that thin structures shrink no more than thick ones.
    """
    source = canonical_geometry(geometry)
    canonical = to_canonical(labels_zyx, geometry)
    best = np.zeros(target.shape_zyx, dtype=np.float32)
    labels = np.zeros(target.shape_zyx, dtype=np.uint8)
    for value in np.unique(labels_zyx):
        share = resample_linear((canonical == value).astype(np.float32), source, target)
        wins = share > best
        labels[wins] = value
        best[wins] = share[wins]
    return labels


def cases_sha256(paths: tuple[Path, ...], preprocessing: Preprocessing) -> str:
    """One checksum over the prepared cases and the preprocessing, in the order of their names."""
    digest = hashlib.sha256(json.dumps(asdict(preprocessing), sort_keys=True).encode())
    for path in sorted(paths, key=lambda p: p.name):
        case = load_prepared(path)
        digest.update(case.name.encode())
        for array in case.arrays.values():
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _label_map(case: Case, labels: tuple[TrainedLabel, ...]) -> NDArray[np.uint8]:
    values = np.zeros(case.volume.geometry.shape_zyx, dtype=np.uint8)
    structures = {s.name: s for s in case.structures.structures}
    for value, label in enumerate(labels, start=1):
        for source in label.source_names:
            structure = structures.get(source)
            if structure is not None and not structure.empty:
                values[structure.box.slices][structure.mask_zyx] = value
    return values


def _regions(record: CaseRecord, labels: tuple[TrainedLabel, ...]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(slices,) the region of each slice of the image, and (regions, labels) what is complete in each."""
    known = np.ones((record.geometry.shape_zyx[0], len(labels)), dtype=bool)
    for column, label in enumerate(labels):
        for source in label.source_names:
            entry = record.structure(source)
            if entry.status is Status.NOT_DRAWN:
                known[:, column] = False
            elif entry.drawn_slices is not None:
                first, last = entry.drawn_slices
                known[:first, column] = False
                known[last + 1 :, column] = False
    drawn, regions = np.unique(known, axis=0, return_inverse=True)
    return regions.ravel().astype(np.uint8), drawn


def _resample_slices(of_slice: NDArray[np.uint8], geometry: Geometry, target: Geometry) -> NDArray[np.uint8]:
    """A value for each slice of `geometry`, at the voxels of `target`, a canonical grid: that of the nearest slice."""
    order, flips = canonical_axes(geometry)
    axis = order.index(0)
    source = canonical_geometry(geometry)
    along = of_slice[::-1] if flips[axis] else of_slice
    start = source.lps_mm_to_index(target.origin_lps_mm)[axis]
    step = target.spacing_zyx_mm[axis] / source.spacing_zyx_mm[axis]
    nearest = np.rint(start + step * np.arange(target.shape_zyx[axis])).astype(int)
    shape = [1, 1, 1]
    shape[axis] = -1
    values = along[np.clip(nearest, 0, len(along) - 1)].reshape(shape)
    return np.ascontiguousarray(np.broadcast_to(values, target.shape_zyx))
