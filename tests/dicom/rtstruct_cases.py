"""Image series in memory and structures with known truth, on grids of any orientation."""

from dataclasses import replace

import numpy as np
import pydicom

from contour.core.geometry import Geometry
from contour.core.nomenclature import lookup
from contour.core.structures import InterpretedType, Provenance, Structure, StructureSet, cropped_to_content
from contour.core.volume import Modality, Volume
from contour.dicom.series import ImageSeries, PatientStudy

FRAME = "1.2.826.0.1.3680043.8.498.7"
SHAPE_ZYX = (24, 48, 56)
SPACING_ZYX_MM = (2.5, 1.1, 0.9)
PACKAGE = Provenance("thorax_ct", "1.2.0", "ab12" * 16)


def axial():
    return Geometry.axial(SHAPE_ZYX, SPACING_ZYX_MM, (-20.25, -30.5, -100.75), FRAME)


def sagittal():
    axes = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
    return Geometry(SHAPE_ZYX, SPACING_ZYX_MM, (12.3, -45.6, 78.9), axes, FRAME)


def oblique():
    """Rows and columns turned about two axes, as a scanner table and a patient never are."""
    a, b = np.deg2rad(31.7), np.deg2rad(-12.4)
    turn_z = np.array([[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    columns, rows, normal = turn_z @ turn_x
    axes = tuple(tuple(float(c) for c in axis) for axis in (normal, rows, columns))
    return Geometry(SHAPE_ZYX, SPACING_ZYX_MM, (-512.345, 401.222, -1033.125), axes, FRAME)


def prone_downwards():
    """Slices counted downwards: a left-handed grid."""
    axes = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))
    return Geometry(SHAPE_ZYX, SPACING_ZYX_MM, (25.0, 30.0, 120.0), axes, FRAME)


GRIDS = {"axial": axial, "sagittal": sagittal, "oblique": oblique, "prone downwards": prone_downwards}

IDENTITY = PatientStudy(
    patient_name="Қасымов^Әлихан",
    patient_id="KZ-0001",
    patient_birth_date="19610203",
    patient_sex="M",
    study_instance_uid="1.2.826.0.1.3680043.8.498.1",
    study_id="7",
    study_date="20240506",
    study_time="101112",
    study_description="Кеуде қуысы",
    accession_number="A1",
    referring_physician_name="Дәрігер^Гүлнар",
)


def series_on(geometry, identity=IDENTITY, character_set=("ISO_IR 192",)):
    """A series without files: for what needs no pixels."""
    return ImageSeries(
        volume=Volume(np.zeros(geometry.shape_zyx, dtype=np.int16), geometry, Modality.CT),
        identity=identity,
        series_instance_uid="1.2.826.0.1.3680043.8.498.2",
        series_description="planning",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uids=tuple(f"1.2.826.0.1.3680043.8.498.2.{z + 1}" for z in range(geometry.shape_zyx[0])),
        files=(),
        findings=(),
        content_sha256="cd" * 32,
        specific_character_set=character_set,
        position_reference_indicator="",
        patient_position="HFS",
    )


def structure(name, mask_zyx, *, provenance=PACKAGE):
    known = lookup(name)
    mask, offset = cropped_to_content(mask_zyx)
    return Structure(name, known.color_rgb, known.interpreted_type, mask, offset, 0.9, provenance)


def distance_mm(geometry, centre_zyx):
    """(z, y, x) distance of each voxel centre from a place in voxel indices."""
    apart = [
        (np.arange(n).reshape([-1 if i == axis else 1 for i in range(3)]) - centre_zyx[axis])
        * geometry.spacing_zyx_mm[axis]
        for axis, n in enumerate(geometry.shape_zyx)
    ]
    return np.sqrt(apart[0] ** 2 + apart[1] ** 2 + apart[2] ** 2)


def anatomy(geometry, label="thorax_oar"):
    """A shell with a hole on most slices, a lopsided solid, two islands, a single voxel, and the outline of it all."""
    shell = distance_mm(geometry, (12, 22.3, 24.6))
    solid = distance_mm(geometry, (9.2, 30.1, 40.4)) < 9
    solid[:, :28, :] &= distance_mm(geometry, (9.2, 30.1, 40.4))[:, :28, :] < 6
    islands = (distance_mm(geometry, (5, 10, 10)) < 5) | (distance_mm(geometry, (17, 38, 46)) < 5)
    voxel = np.zeros(geometry.shape_zyx, dtype=bool)
    voxel[3, 7, 40] = True
    return StructureSet(
        label,
        geometry,
        (
            structure("Lung_L", (shell < 19) & (shell > 9)),
            structure("Heart", solid),
            structure("Kidney_R", islands),
            structure("Cochlea_L", voxel),
            structure("External", np.ones(geometry.shape_zyx, dtype=bool), provenance=None),
        ),
    )


def with_structures(structures, *changed):
    return replace(structures, structures=tuple(changed))


def rewritten(source, target, edit, **saving):
    """The RTSTRUCT at `source` with `edit` applied to its data set, at `target`."""
    data_set = pydicom.dcmread(source)
    edit(data_set)
    data_set.save_as(target, **saving)
    return target


def same_masks(a, b):
    return all(
        p.name == q.name and p.offset_zyx == q.offset_zyx and np.array_equal(p.mask_zyx, q.mask_zyx)
        for p, q in zip(a.structures, b.structures, strict=True)
    )


def shell(geometry):
    """A block with a hole through it, in which an island lies."""
    mask = np.zeros(geometry.shape_zyx, dtype=bool)
    z, y, x = geometry.shape_zyx
    mask[1 : z - 1, 2 : y - 2, 2 : x - 2] = True
    mask[1 : z - 1, 5 : y - 5, 5 : x - 5] = False
    mask[1 : z - 1, 8 : y - 8, 8 : x - 8] = True
    return Structure("Chestwall", (1, 2, 3), InterpretedType.ORGAN, mask, (0, 0, 0))
