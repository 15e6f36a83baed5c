"""Cases: an image with its reference labels on the network's grid, stored without pickle."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.geometry import Geometry
from contour.core.volume import Volume
from contour.imaging.preprocess import Preprocessing, canonical_geometry, preprocess, to_canonical
from contour.imaging.resample import resample_linear

UNKNOWN = 255


@dataclass(frozen=True)
class Case:
    """What a network learns from.

    `image_zyx` is the preprocessed image (float16, enough for values near 0 with a spread of 1); `labels_zyx` (uint8)
    holds 0 for background, i for the i-th label, and 255 where the label is unknown. `drawn` lists the label values
    that were drawn in this case: where any other is missing, background means "background or one of those".
    """

    name: str
    image_zyx: NDArray[np.float16]
    labels_zyx: NDArray[np.uint8]
    drawn: tuple[int, ...]


def save_case(case: Case, path: Path) -> None:
    """Writes the case as a compressed `.npz`; a partial file never bears the final name."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(
        part,
        image_zyx=case.image_zyx,
        labels_zyx=case.labels_zyx,
        drawn=np.array(case.drawn, dtype=np.int16),
        name=np.array(case.name),
    )
    part.replace(path)


def load_case(path: Path) -> Case:
    """The case stored at `path`."""
    with np.load(path, allow_pickle=False) as stored:
        return Case(
            name=str(stored["name"]),
            image_zyx=stored["image_zyx"],
            labels_zyx=stored["labels_zyx"],
            drawn=tuple(int(v) for v in stored["drawn"]),
        )


def prepare_case(
    name: str,
    volume: Volume,
    labels_zyx: NDArray[np.uint8],
    drawn: tuple[int, ...],
    preprocessing: Preprocessing,
) -> Case:
    """A case from an image and a label map on its grid (0, label values, 255 for unknown)."""
    prepared = preprocess(volume, preprocessing)
    labels = resample_labels(labels_zyx, volume.geometry, prepared.geometry)
    return Case(name, prepared.values_zyx.astype(np.float16), labels, drawn)


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
    """One checksum over the stored cases and the preprocessing, in the order of their names."""
    digest = hashlib.sha256(json.dumps(asdict(preprocessing), sort_keys=True).encode())
    for path in sorted(paths, key=lambda p: p.name):
        case = load_case(path)
        digest.update(case.name.encode())
        digest.update(np.ascontiguousarray(case.image_zyx).tobytes())
        digest.update(np.ascontiguousarray(case.labels_zyx).tobytes())
    return digest.hexdigest()
