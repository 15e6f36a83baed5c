"""What hard images cost: a real case changed in every way that clinics know, drawn again, and compared.

    python -m scripts.bench.robustness PACKAGE CASE [--locator PACKAGE] [--only couch metal] [--pictures FOLDER]

PACKAGE is a package's folder. CASE is a folder with a CT series and its RTSTRUCT, or with `image.nii.gz`,
`labels.nii.gz` and (there or one above) `labels.json`. Each change is one of `contour.imaging.hardships`; the reference
is brought onto the changed image. The first table is the Dice with the reference; the second, for all structures that
the package draws, the Dice with what was drawn on the unchanged image: where that was right, it says as much.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from contour.cases.aliases import load_aliases
from contour.config import load_config, shipped_folder
from contour.core.geometry import Box, Geometry
from contour.core.nomenclature import whole_name
from contour.core.protocol import Components, Protocol, ProtocolStructure
from contour.core.structures import InterpretedType, Mask, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.dicom.read_series import read_series
from contour.dicom.rtstruct_read import read_rtstruct
from contour.imaging import hardships
from contour.imaging.hardships import Hard, Side
from contour.imaging.metal import Rod, with_metal
from contour.imaging.nifti import read_nifti, read_nifti_array
from contour.inference.engine import NetworkEngine
from contour.inference.package import load_package
from contour.inference.session import open_network
from contour.pipeline import draw_structures
from contour.training.config import TrainingConfig
from scripts.thorax_ct.evaluate import clinical_rtstruct

BLOOD = ("Heart", "A_Aorta", "Liver", "Spleen", "Kidney_L", "Kidney_R")
CONTRAST_HU = 180.0
BONE_HU = 250
SEED = 4
LEAST_ML = 1.0  # of an organ cut by the image's end: less is no organ to agree on
PICTURE_MM = 90.0

Draw = Callable[[Volume], StructureSet]


@dataclass(frozen=True)
class RealCase:
    """An image and those of its structures that the package draws, by the package's names."""

    volume: Volume
    references: tuple[Structure, ...]


@dataclass(frozen=True)
class Trial:
    """A change by its name."""

    name: str
    change: Callable[[], Hard]


@dataclass(frozen=True)
class Outcome:
    """What was drawn on a changed image, beside the reference and the plain drawing as they lie there."""

    trial: str
    hard: Hard
    drawn: dict[str, Structure]
    references: dict[str, Structure]
    plain: dict[str, Structure]

    def against_reference(self, name: str) -> float:
        """Dice; NaN where next to nothing of the structure is in the image, and next to nothing was drawn."""
        return self._dice(self.references[name], self.drawn[name])

    def against_plain(self, name: str) -> float:
        """Dice with the drawing on the unchanged image; NaN as above."""
        return self._dice(self.plain[name], self.drawn[name])

    def _dice(self, right: Structure, found: Structure) -> float:
        most = max(np.count_nonzero(right.mask_zyx), np.count_nonzero(found.mask_zyx))
        return dice(right, found) if most * self.hard.volume.geometry.voxel_ml >= LEAST_ML else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("case", type=Path)
    parser.add_argument("--locator", type=Path, help="the folder of the package that says first where organs are")
    parser.add_argument("--only", nargs="+", default=[""], help="changes whose name contains one of these words")
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of each change's worst structure")
    given = parser.parse_args()
    network = open_network(load_package(given.package))
    locator = open_network(load_package(given.locator)) if given.locator is not None else None
    draw = partial(drawing, network, locator=locator)
    case = read_case(given.case, network)
    if given.pictures is not None:
        given.pictures.mkdir(parents=True, exist_ok=True)
    rows = []
    for outcome in run(draw, case, tuple(given.only)):
        rows.append(row(outcome))  # the numbers alone: a changed image is as large as the image
        print(f"{outcome.trial}: least {least(rows[-1].with_plain)}", file=sys.stderr, flush=True)
        if given.pictures is not None:
            write_picture(outcome, given.pictures)
    print(tables(rows))


def run(draw: Draw, case: RealCase, only: tuple[str, ...] = ("",)) -> Iterator[Outcome]:
    """The case as it is, then changed; `only` those changes whose name contains one of the words."""
    plain = draw(case.volume)
    yield outcome_of("as it is", Hard(case.volume), (case, plain), plain)
    for trial in trials(case.volume, (*case.references, *plain.structures)):
        if any(word in trial.name for word in only):
            hard = trial.change()
            yield outcome_of(trial.name, hard, (case, plain), draw(hard.volume))


def drawing(network: NetworkEngine, volume: Volume, *, locator: NetworkEngine | None = None) -> StructureSet:
    """All that the package draws, through the path that ships, by the mildest rules; parts by the whole's name."""
    rules = tuple(ProtocolStructure(name, components=Components.ALL) for name in network.manifest.names)
    protocol = Protocol("everything", "Everything", network.manifest.modality, (), rules)
    drawn = draw_structures(volume, protocol, (network,), locator=locator).structures
    return replace(drawn, structures=tuple(replace(s, name=whole_name(s.name)) for s in drawn.structures))


def outcome_of(trial: str, hard: Hard, known: tuple[RealCase, StructureSet], drawn: StructureSet) -> Outcome:
    case, plain = known
    found = {s.name: s for s in drawn.structures}
    if hard.seen_zyx is not None:  # what is drawn where the image shows nothing is judged by nobody
        found = {name: _within(s, hard.seen_zyx) for name, s in found.items()}
    references = {s.name: hard.carried(s, case.volume.geometry) for s in case.references}
    return Outcome(trial, hard, found, references, {s.name: hard.carried(s, plain.geometry) for s in plain.structures})


def _within(structure: Structure, seen_zyx: Mask) -> Structure:
    z, y, x = seen_zyx.shape
    mask, offset = cropped_to_content(structure.full_mask((z, y, x)) & seen_zyx)
    return replace(structure, mask_zyx=mask, offset_zyx=offset)


def dice(one: Structure, other: Structure) -> float:
    """Twice the common voxels over the sum; 0 where only one is empty, NaN where both are."""
    start = np.maximum(one.offset_zyx, other.offset_zyx)
    stop = np.minimum(one.box.stop_zyx, other.box.stop_zyx)
    total = np.count_nonzero(one.mask_zyx) + np.count_nonzero(other.mask_zyx)
    if total == 0:
        return float("nan")
    parts = [
        s.mask_zyx[
            tuple(slice(max(0, a - o), max(0, b - o)) for a, b, o in zip(start, stop, s.offset_zyx, strict=True))
        ]
        for s in (one, other)
    ]
    common = np.count_nonzero(parts[0] & parts[1]) if (stop > start).all() else 0
    return 2 * common / total


# -- changes ----------------------------------------------------------------------------------------------------------


def trials(volume: Volume, known: tuple[Structure, ...]) -> tuple[Trial, ...]:
    """The changes for the volume's modality; `known` structures, the best first, say where blood and bone are."""
    shared = (
        *(Trial(f"slices {mm:g} mm", partial(hardships.in_slices, volume, mm)) for mm in (1.0, 2.0, 4.0, 5.0)),
        Trial("stored head first prone", lambda: _stored(volume, (0, 1, 2), (False, True, True))),
        Trial("stored feet first supine", lambda: _stored(volume, (0, 1, 2), (True, False, True))),
        Trial("stored sagittal", lambda: _stored(volume, (2, 0, 1), (False, True, True))),
        Trial("lower half", lambda: hardships.cut_along_z(volume, 0.0, 0.5)),
        Trial("upper half", lambda: hardships.cut_along_z(volume, 0.5, 1.0)),
        Trial("middle third", lambda: hardships.cut_along_z(volume, 0.33, 0.67)),
        Trial("turned 6, 4, 8 degrees", lambda: hardships.turned(volume, (6.0, 4.0, 8.0))),
        Trial("rolled 20 degrees", lambda: hardships.turned(volume, (0.0, 0.0, 20.0))),
    )
    return (*shared, *(_ct(volume, known) if volume.modality is Modality.CT else _mr(volume)))


def _ct(volume: Volume, known: tuple[Structure, ...]) -> tuple[Trial, ...]:
    width_mm = _body_width_mm(volume)
    return (
        Trial("noise 30 HU", lambda: hardships.noisier(volume, 30.0, SEED)),
        Trial("noise 80 HU", lambda: hardships.noisier(volume, 80.0, SEED)),
        Trial("contrast in", lambda: hardships.enhanced(volume, _blood(volume, known), CONTRAST_HU)),
        Trial("contrast out", lambda: Hard(_native(volume))),
        Trial("couch none", lambda: hardships.without_couch(volume)),
        Trial("couch flat", lambda: hardships.with_couch(volume, Side.POSTERIOR)),
        Trial("arms down", lambda: hardships.with_arms(volume)),
        Trial("prone", lambda: hardships.prone(volume)),
        Trial("prone, called supine", lambda: hardships.turned_over(volume)),
        Trial("metal beside the spine", lambda: Hard(with_metal(volume, _rods(volume, known), SEED))),
        Trial("field a circle of .6", lambda: hardships.in_circle(volume, 0.3 * width_mm)),
        Trial("field a frame of .6", lambda: hardships.in_frame(volume, 0.6 * width_mm)),
    )


def _mr(volume: Volume) -> tuple[Trial, ...]:
    bright = float(np.percentile(volume.voxels_zyx, 99))
    return (
        Trial("noise of 5 %", lambda: hardships.noisier(volume, 0.05 * bright, SEED)),
        Trial("noise of 12 %", lambda: hardships.noisier(volume, 0.12 * bright, SEED)),
        Trial("gain uneven by 40 %", lambda: hardships.uneven_gain(volume, 0.4, SEED)),
    )


def _stored(volume: Volume, order: tuple[int, int, int], reverse: tuple[bool, bool, bool]) -> Hard:
    return Hard(hardships.stored_as(volume, order, reverse))


def _native(volume: Volume) -> Volume:
    plain = hardships.upright(volume)
    hu = plain.voxels_zyx.astype(np.float32)
    native = hardships.without_contrast(hu, _bone(hu > BONE_HU), share=0.0)
    return Volume(np.rint(native).astype(np.int16), plain.geometry, plain.modality)


def _bone(dense_zyx: Mask) -> Mask:
    """Dense voxels less blood that contrast medium makes dense: bone is not as thick as a heart."""
    from scipy import ndimage  # noqa: PLC0415

    thick = ndimage.binary_opening(dense_zyx, np.ones((1, 25, 25), dtype=bool))
    return np.asarray(dense_zyx & ~thick)


def _blood(volume: Volume, known: tuple[Structure, ...]) -> Mask:
    """The blood pools and the organs that take up most, each as the first of `known` has it."""
    mask = np.zeros(volume.geometry.shape_zyx, dtype=bool)
    for name in BLOOD:
        first = next((s for s in known if s.name == name and not s.empty), None)
        if first is not None:
            mask[first.box.slices] |= first.mask_zyx
    return mask


def _rods(volume: Volume, known: tuple[Structure, ...]) -> tuple[Rod, ...]:
    """Two pedicle screws' worth of metal beside the canal's middle; in the image's middle where no cord is known."""
    cord = next((s for s in known if s.name in ("SpinalCord", "SpinalCanal", "Brainstem") and not s.empty), None)
    if cord is None:
        index = (np.asarray(volume.geometry.shape_zyx) - 1) / 2
    else:
        voxels = np.argwhere(cord.mask_zyx) + cord.offset_zyx
        levels = volume.geometry.index_to_lps_mm(voxels)[:, 2]
        index = voxels[np.abs(levels - np.median(levels)) < 5.0].mean(axis=0)
    x, y, z = volume.geometry.index_to_lps_mm(index).tolist()
    return tuple(Rod((x + side * 18.0, y - 12.0, z), 3.0, 60.0) for side in (-1, 1))


def _body_width_mm(volume: Volume) -> float:
    """Of the widest slice's solid part, the couch left out."""
    plain = hardships.without_couch(volume).volume
    columns = np.flatnonzero((plain.voxels_zyx > -300).any(axis=(0, 1)))
    return float(np.ptp(columns) + 1) * plain.geometry.spacing_zyx_mm[2]


# -- tables and pictures ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Dice of a trial by structure: with the reference, and with the drawing on the unchanged image."""

    trial: str
    with_reference: dict[str, float]
    with_plain: dict[str, float]


def row(outcome: Outcome) -> Row:
    """The numbers of an outcome."""
    return Row(
        outcome.trial,
        {name: outcome.against_reference(name) for name in outcome.references},
        {name: outcome.against_plain(name) for name in outcome.drawn},
    )


def least(values: dict[str, float]) -> str:
    """The structure of the least value, with it."""
    known = {name: value for name, value in values.items() if not np.isnan(value)}
    name = min(known, key=lambda n: known[n], default="")
    return f"{name} {known[name]:.3f}" if name else "nothing"


def tables(rows: list[Row]) -> str:
    """Markdown: Dice with the reference, and with what was drawn on the unchanged image."""
    parts = (
        ("Dice with the reference", {row.trial: row.with_reference for row in rows}),
        ("Dice with the drawing on the unchanged image", {row.trial: row.with_plain for row in rows}),
    )
    return "\n\n".join(f"{title}\n\n{_table(cells)}" for title, cells in parts)


def _table(values: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(values.values())))
    lines = [f"| change | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for trial, cells in values.items():
        shown = ("-" if np.isnan(cells[name]) else f"{cells[name]:.3f}" for name in names)
        lines.append(f"| {trial} | {' | '.join(shown)} |")
    return "\n".join(lines)


def write_picture(outcome: Outcome, folder: Path) -> None:
    """Two slices of the structure that agrees least with the plain drawing: that in green, the reference in yellow."""
    shown = {n: outcome.against_plain(n) for n in outcome.drawn}
    worst = min((n for n in shown if not np.isnan(shown[n])), key=lambda n: shown[n], default=None)
    if worst is None:
        return
    volume = outcome.hard.volume
    sets = {"lime": outcome.plain[worst], "red": outcome.drawn[worst]}
    if worst in outcome.references:
        sets["yellow"] = outcome.references[worst]
    plain = hardships.upright(volume)
    order = {c: hardships.upright(_as_volume(s, volume.geometry)).voxels_zyx > 0 for c, s in sets.items()}
    apart = order["lime"] ^ order["red"]
    box = _shown(order["lime"] | order["red"], plain.geometry)
    figure = Figure(figsize=(14, 7))
    FigureCanvasAgg(figure)
    for place, axis in ((1, 0), (2, 1)):
        index = int(np.argmax(apart.sum(axis=tuple(a for a in range(3) if a != axis)))) - box.start_zyx[axis]
        axes = figure.add_subplot(1, 2, place)
        spacing = [mm for a, mm in enumerate(plain.geometry.spacing_zyx_mm) if a != axis]
        low, high = (-160, 240) if volume.modality is Modality.CT else np.percentile(plain.voxels_zyx, (1, 99.5))
        axes.imshow(
            plain.voxels_zyx[box.slices].take(index, axis),
            cmap="gray",
            vmin=low,
            vmax=high,
            aspect=spacing[0] / spacing[1],
            origin="upper" if axis == 0 else "lower",
        )
        for color, mask in order.items():
            part = mask[box.slices].take(index, axis)
            if part.any() and not part.all():
                axes.contour(part, [0.5], colors=[color], linewidths=1)
        axes.set_axis_off()
    title = f"{outcome.trial}: {worst} {shown[worst]:.2f} (green: unchanged image, red: this, yellow: reference)"
    figure.suptitle(title)
    figure.savefig(folder / f"{outcome.trial.replace(' ', '_').replace(',', '')}.png", dpi=60)


def _shown(mask: Mask, geometry: Geometry) -> Box:
    """The box about the structure with a margin."""
    if not mask.any():
        return Box((0, 0, 0), geometry.shape_zyx)
    content, start = cropped_to_content(mask)
    z, y, x = (a + n for a, n in zip(start, content.shape, strict=True))
    mz, my, mx = (round(PICTURE_MM / mm) for mm in geometry.spacing_zyx_mm)
    return Box(start, (z, y, x)).grown((mz, my, mx), geometry.shape_zyx)


def _as_volume(structure: Structure, geometry: Geometry) -> Volume:
    return Volume(structure.full_mask(geometry.shape_zyx).astype(np.int16), geometry, Modality.CT)


# -- cases ------------------------------------------------------------------------------------------------------------


def read_case(folder: Path, network: NetworkEngine) -> RealCase:
    """The case in `folder`: NIfTI, or DICOM with an RTSTRUCT."""
    modality, names = network.manifest.modality, network.manifest.names
    if not (folder / "image.nii.gz").exists():
        series = read_series(folder)
        structures = read_rtstruct(clinical_rtstruct(folder), series).structures
        aliases = load_aliases()
        meant = [replace(s, name=aliases.read(s.name).name or "") for s in structures if not s.empty]
        return RealCase(series.volume, tuple(s for s in meant if s.name in names))
    volume = read_nifti(folder / "image.nii.gz", modality, "2.25.1")
    labels, _ = read_nifti_array(folder / "labels.nii.gz", "2.25.1")
    listed = folder / "labels.json" if (folder / "labels.json").exists() else folder.parent / "labels.json"
    values = json.loads(listed.read_text(encoding="utf-8"))
    found = []
    for name, sources in _sources(network).items():
        mask, offset = cropped_to_content(np.isin(labels, [values[s] for s in sources if s in values]))
        if mask.size:
            found.append(Structure(name, (255, 255, 0), InterpretedType.ORGAN, mask, offset))
    return RealCase(volume, tuple(found))


def _sources(network: NetworkEngine) -> dict[str, tuple[str, ...]]:
    """For each structure the names that it may have in a case's labels, from the package's training configuration."""
    sources: dict[str, tuple[str, ...]] = {name: (name,) for name in network.manifest.names}
    path = shipped_folder("configs") / "training" / f"{network.manifest.name}.yaml"
    if path.exists():
        for label in load_config(path, TrainingConfig).labels:
            sources[label.name] = (label.name, *label.source_names, *label.also)
    return sources


if __name__ == "__main__":
    mpl.use("Agg")
    main()
