"""The Python interface: `import contour`, and from a folder of images to an RTSTRUCT in a few lines.

Paths may be texts here; everything behind is `contour.pipeline` and the rooms below it, with the same checks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contour.core.errors import ConfigError, ContourError, InputRefused, NotReleased, PackageError
from contour.core.geometry import Geometry
from contour.core.nomenclature import named_structure
from contour.core.protocol import Protocol
from contour.core.report import Finding, RunReport, report_from_json
from contour.core.structures import Mask, Structure, StructureSet
from contour.core.volume import Modality, Volume
from contour.dicom import read_series as _series
from contour.dicom import rtstruct_read as _reading
from contour.dicom import rtstruct_write as _writing
from contour.dicom.rtstruct_write import GenerationAlgorithm, WriteOptions, WrittenRtstruct
from contour.dicom.series import ImageSeries
from contour.imaging import metrics as _metrics
from contour.imaging.exchange import from_nibabel, from_sitk, to_nibabel, to_sitk
from contour.imaging.metrics import Agreement
from contour.inference.engine import NetworkEngine
from contour.inference.session import SessionOptions, open_network
from contour.library import load_protocol, locator_for, packages_for
from contour.pipeline import (
    REPORT_FILE,
    Drawing,
    Given,
    Progress,
    Run,
    RunOptions,
    contour_series,
    draw_structures,
)

__all__ = [
    "Agreement",
    "ConfigError",
    "ContourError",
    "Drawing",
    "Finding",
    "Geometry",
    "Given",
    "ImageSeries",
    "InputRefused",
    "Modality",
    "NotReleased",
    "OpenProtocol",
    "PackageError",
    "Protocol",
    "Run",
    "RunOptions",
    "RunReport",
    "SessionOptions",
    "Structure",
    "StructureSet",
    "Volume",
    "WriteOptions",
    "WrittenRtstruct",
    "compare",
    "from_nibabel",
    "from_sitk",
    "masks_of",
    "open_protocol",
    "read_report",
    "read_rtstruct",
    "read_series",
    "structures_of",
    "to_nibabel",
    "to_sitk",
    "write_rtstruct",
]

File = Path | str

_OPTIONS, _GIVEN, _SESSION = RunOptions(), Given(), SessionOptions()


@dataclass(frozen=True)
class OpenProtocol:
    """A protocol with its networks opened: keep it, and contour one series after the other.

    `locator` is the coarse network that finds where in the body an image lies; None: everything is searched everywhere.
    """

    protocol: Protocol
    networks: tuple[NetworkEngine, ...]
    locator: NetworkEngine | None = None

    def contour_series(
        self, folder: File, output: File, *, options: RunOptions = _OPTIONS, progress: Progress | None = None
    ) -> Run:
        """Contour the series in `folder`; `output` gets `rtstruct.dcm`, `report.json` and `preview.png`.

        They appear together or not at all; `run.report.released` says whether there is an RTSTRUCT. `progress` is told
        a stage's name and the part of it that is done.

        Raises:
            InputRefused: the series must not be contoured.
            ConfigError: `output` is a file, or holds files of an earlier run and `options.overwrite` is not set.
            PackageError: a network fails.
            OSError: `output` cannot be written to.
        """
        chosen = options if options.locator else replace(options, locator=self.locator)
        return contour_series(
            Path(folder), self.protocol, self.networks, Path(output), options=chosen, progress=progress
        )

    def draw_structures(self, volume: Volume, *, given: Given = _GIVEN, progress: Progress | None = None) -> Drawing:
        """Draw on a volume and look over what was drawn; nothing is written.

        The structures lie on the volume's grid, in the protocol's order; see `masks_of` for them as arrays.

        Raises:
            InputRefused: the modality is not the protocol's, the image is implausible, or it shows another site.
            PackageError: a network fails.
        """
        return draw_structures(
            volume, self.protocol, self.networks, locator=self.locator, given=given, progress=progress
        )


def open_protocol(
    name_or_file: File,
    *,
    models: Sequence[File] = (),
    protocols: Sequence[File] = (),
    session: SessionOptions = _SESSION,
    locate: bool = True,
) -> OpenProtocol:
    """The protocol of that name, or in that YAML file, with its networks verified and opened.

    `models` and `protocols` are folders of your own, which count first; `session` says what runs the networks.

    Raises:
        ConfigError: there is no such protocol, or it has a mistake.
        PackageError: a package is missing, altered or cannot be opened.
    """
    folders = tuple(map(Path, models))
    protocol = load_protocol(str(name_or_file), tuple(map(Path, protocols)))
    networks = tuple(open_network(package, session) for package in packages_for(protocol, folders))
    coarse = locator_for(protocol, folders) if locate else None
    return OpenProtocol(protocol, networks, open_network(coarse, session) if coarse else None)


def read_series(folder: File, *, series_instance_uid: str | None = None) -> ImageSeries:
    """The CT or MR series in `folder`, checked: `.volume` has its voxels (z, y, x), in HU for CT, and its geometry.

    Raises:
        InputRefused: it cannot be trusted, or there are several and `series_instance_uid` names none of them.
    """
    return _series.read_series(Path(folder), series_instance_uid=series_instance_uid)


def read_rtstruct(file: File, series: ImageSeries, *, names: Sequence[str] | None = None) -> StructureSet:
    """The structures of an RTSTRUCT of any system, as masks on the grid of `series`; only those of `names` if given.

    Raises:
        InputRefused: the file is no RTSTRUCT, of another patient or image, or not clear in what it means.
    """
    return _reading.read_rtstruct(Path(file), series, names=None if names is None else tuple(names))


def write_rtstruct(
    structures: StructureSet, series: ImageSeries, file: File, options: WriteOptions | None = None
) -> WrittenRtstruct:
    """Write structures on the grid of `series` as an RTSTRUCT, if that proves equal to them.

    Without `options` the ROIs are stated to be drawn automatically where a package drew one of the structures; by whom
    arrays of your own were drawn is not known, and left open.

    Raises:
        InputRefused: no structure has a voxel, the grids differ, or a name or label cannot be written.
        NotReleased: the file differs from the structures; nothing was written.
        OSError: the disk.
    """
    if options is None:
        drawn = any(structure.provenance for structure in structures.structures)
        options = WriteOptions(generation=GenerationAlgorithm.AUTOMATIC if drawn else GenerationAlgorithm.UNKNOWN)
    return _writing.write_rtstruct(structures, series, Path(file), options)


def read_report(run_folder: File) -> RunReport:
    """The report of an earlier run, from its folder.

    Raises:
        ConfigError: its `report.json` is none.
        OSError: there is none.
    """
    file = Path(run_folder) / REPORT_FILE
    return report_from_json(file.read_text(encoding="utf-8"), str(file))


def masks_of(structures: StructureSet) -> dict[str, Mask]:
    """Each structure's boolean array (z, y, x) on the whole grid, by name."""
    shape = structures.geometry.shape_zyx
    return {structure.name: structure.full_mask(shape) for structure in structures.structures}


def structures_of(masks: Mapping[str, Mask], geometry: Geometry, label: str = "CONTOUR") -> StructureSet:
    """Arrays (z, y, x) on `geometry`, true or not 0 inside, as structures: colours and types follow from TG-263 names.

    `label` becomes the Structure Set Label, of at most 16 characters.

    Raises:
        ValueError: an array has another shape than the grid.
    """
    for name, mask in masks.items():
        if mask.shape != geometry.shape_zyx:
            raise ValueError(f"{name} has the shape {mask.shape}, its grid {geometry.shape_zyx}")
    return StructureSet(label, geometry, tuple(named_structure(name, mask != 0) for name, mask in masks.items()))


def compare(reference: StructureSet, test: StructureSet, *, tolerance_mm: float = 3.0) -> dict[str, Agreement]:
    """Dice, surface Dice, HD95, mean surface distance and added path length of each structure that both have.

    Raises:
        ValueError: the two lie on different grids.
    """
    if not reference.geometry.same_grid(test.geometry):
        raise ValueError("the structure sets lie on different grids: read both with the same series")
    theirs = {structure.name: structure for structure in test.structures}
    return {
        ours.name: _metrics.compare(ours, theirs[ours.name], reference.geometry, tolerance_mm)
        for ours in reference.structures
        if ours.name in theirs
    }
