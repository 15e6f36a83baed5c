"""Names, types, colours and codes of structures: AAPM TG-263 (Mayo et al. 2018, doi:10.1016/j.ijrobp.2017.12.013).

Codes are SNOMED CT (scheme SCT) as the DICOM context groups of PS3.16 use them, and as HL7 mCODE maps TG-263 names to
them; the body's outline has codes of DICOM itself (scheme DCM). Laterality stands apart, as a modifier (PS3.16 CID
244), so that one code serves both sides.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

from contour.core.structures import InterpretedType, Mask, Structure, cropped_to_content

MAX_NAME_LENGTH = 16  # TG-263 report, section 7.2: what most systems can hold
PARTIAL_SIGN = "~"  # TG-263, guiding principle for structures that are not there in whole
UNNAMED_COLOR_RGB = (255, 255, 255)  # of what stands in no table

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Code:
    """A coded concept: DICOM PS3.3 section 8.8, Code Sequence Macro. `meaning` has 64 characters at most."""

    value: str
    scheme: str
    meaning: str


LEFT = Code("7771000", "SCT", "Left")
RIGHT = Code("24028007", "SCT", "Right")
BOTH = Code("51440002", "SCT", "Bilateral")


@dataclass(frozen=True)
class NomenclatureEntry:
    """What is known about a name. `code` is None for what has no anatomical code (targets, margins, supports)."""

    name: str
    interpreted_type: InterpretedType
    color_rgb: Rgb
    code: Code | None = None
    laterality: Code | None = None


def lookup(name: str) -> NomenclatureEntry | None:
    """The entry of a TG-263 name (case matters), or None for a name that TG-263's rules do not explain.

    Besides the table of anatomy this knows planning risk volumes (`SpinalCord_PRV05`: the organ's colour, AVOIDANCE,
    no code, since the region is not the organ), targets (`GTV...`, `CTV...`, `PTV...`), organs less a target
    (`Lungs-GTV`: as the organ, without its code), parts of all of these (`~Liver`: as the liver, for all of it is
    liver), and few names that planners use instead of TG-263's.
    """
    if name.startswith(PARTIAL_SIGN):
        whole = lookup(whole_name(name)) if not name.startswith(2 * PARTIAL_SIGN) else None
        return replace(whole, name=name) if whole else None
    entry = _table().get(_OTHERWISE_SAID.get(name, name))
    if entry is not None:
        return replace(entry, name=name)
    margin = PRV_NAME.fullmatch(name)
    if margin is not None:
        organ = _table().get(margin["organ"] + (margin["side"] or ""))
        return replace(organ, name=name, interpreted_type=InterpretedType.AVOIDANCE, code=None) if organ else None
    organ_name, _, less = name.partition("-")
    if _LESS.fullmatch(less) and organ_name in _table():
        return replace(_table()[organ_name], name=name, code=None)
    vertebra = VERTEBRA_NAME.fullmatch(name)
    if vertebra is not None:
        return _vertebra_entry(name, vertebra)
    target = _TARGET.match(name)
    if target is not None:
        kind, color = _TARGETS[target[0]]
        return NomenclatureEntry(name, kind, color)
    return None


def named_structure(name: str, mask_zyx: Mask) -> Structure:
    """A mask on a whole grid as a structure, with the colour and type of its TG-263 name, or white and without one."""
    entry = lookup(name)
    mask, offset = cropped_to_content(mask_zyx)
    if entry is None:
        return Structure(name, UNNAMED_COLOR_RGB, InterpretedType.NONE, mask, offset)
    return Structure(name, entry.color_rgb, entry.interpreted_type, mask, offset)


def whole_name(name: str) -> str:
    """The structure that a name means, be it there in whole or in part: `~Liver` is Liver."""
    return name.removeprefix(PARTIAL_SIGN)


def partial_name(name: str) -> str | None:
    """The name of a structure of which only a part is there, or None where 16 characters do not hold it.

    TG-263 marks it by a tilde in front: a volume, or a dose to a part of it, is not the organ's.
    """
    partial = PARTIAL_SIGN + whole_name(name)
    return partial if len(partial) <= MAX_NAME_LENGTH else None


def known_names() -> tuple[str, ...]:
    """Every name of the table of anatomy, sorted."""
    return tuple(sorted(_table()))


def validate_name(name: str) -> tuple[str, ...]:
    """What keeps `name` from being written as an ROI Name, one sentence each; empty when nothing does.

    16 characters at most, because planning systems cut or refuse longer ones; ASCII letters, digits and the signs
    `_ - + ~ ^ . !` that TG-263 gives a meaning to; a letter, `_` or `~` first.
    """
    problems = []
    if len(name) > MAX_NAME_LENGTH:
        problems.append(f"name {name!r} has {len(name)} characters; allowed: {MAX_NAME_LENGTH}")
    if not _NAME.fullmatch(name):
        problems.append(f"name {name!r}: allowed are letters, digits and _ - + ~ ^ . ! with a letter, _ or ~ first")
    return tuple(problems)


def validate_names(names: Iterable[str]) -> tuple[str, ...]:
    """What keeps `names` from standing in one structure set: each one's problems, and names equal but for case."""
    names = tuple(names)
    problems = [problem for name in names for problem in validate_name(name)]
    counts = Counter(name.casefold() for name in names)
    for folded in (folded for folded, count in counts.items() if count > 1):
        alike = ", ".join(name for name in names if name.casefold() == folded)
        problems.append(f"names {alike} are equal without regard to case; allowed: names that differ")
    return tuple(problems)


_NAME = re.compile(r"[A-Za-z_~][A-Za-z0-9_~^+.!-]*", re.ASCII)
PRV_NAME = re.compile(r"(?P<organ>.+?)_PRV(?P<mm>\d{0,2})(?P<side>_[LR])?")
_LESS = re.compile(r"I?[GCP]TV.*|ITV.*")
_TARGET = re.compile(r"[GCP]TV(?![a-z]{3})")
# Names that are drawn though TG-263 has another, or none: whole vertebrae as a family look like their bodies.
_OTHERWISE_SAID = {"Mandible": "Bone_Mandible", "Vertebrae": "VBs"}
VERTEBRA_NAME = re.compile(r"(?P<kind>VB|Vert)_(?:unknown(?P<number>\d+)|(?P<level>[CTL]\d+))")
_TARGETS = {
    "GTV": (InterpretedType.GTV, (255, 0, 0)),
    "CTV": (InterpretedType.CTV, (255, 128, 192)),
    "PTV": (InterpretedType.PTV, (0, 64, 255)),
}


class _Anatomy(NamedTuple):
    """One organ: `single` is its name undivided, `paired` the stem of NAME_L and NAME_R, `both` the pair's name."""

    code: str
    meaning: str
    color_rgb: Rgb
    single: str | None = None
    paired: str | None = None
    both: str | None = None


_ORGANS = (
    # Thorax
    _Anatomy("39607008", "Lung", (90, 180, 230), paired="Lung", both="Lungs"),
    _Anatomy("80891009", "Heart", (220, 50, 50), "Heart"),
    _Anatomy("76848001", "Pericardium", (250, 140, 110), "Pericardium"),
    _Anatomy("59652004", "Atrium", (200, 80, 120), "Atrium", "Atrium"),
    _Anatomy("21814001", "Ventricle", (170, 40, 70), "Ventricle", "Ventricle"),
    _Anatomy("32849002", "Esophagus", (230, 160, 40), "Esophagus"),
    _Anatomy("44567001", "Trachea", (60, 220, 220), "Trachea"),
    _Anatomy("28700002", "Carina", (0, 170, 170), "Carina"),
    _Anatomy("955009", "Bronchus", (40, 190, 170), "Bronchus", "Bronchus"),
    _Anatomy("102297006", "Main bronchus", (80, 210, 190), "Bronchus_Main", "Bronchus_Main"),
    _Anatomy("72410000", "Mediastinum", (160, 160, 220), "Mediastinum"),
    _Anatomy("78904004", "Chest wall", (200, 170, 130), "Chestwall", "Chestwall"),
    _Anatomy("36582005", "Brachial plexus", (255, 220, 0), paired="BrachialPlex", both="BrachialPlexs"),
    _Anatomy("5798000", "Diaphragm", (150, 110, 90), "Diaphragm"),
    _Anatomy("9875009", "Thymus", (210, 190, 140), "Glnd_Thymus"),
    _Anatomy("76752008", "Breast", (255, 180, 200), paired="Breast", both="Breasts"),
    # Vessels
    _Anatomy("15825003", "Aorta", (255, 80, 80), "A_Aorta"),
    _Anatomy("54247002", "Ascending aorta", (255, 110, 90), "A_Aorta_Asc"),
    _Anatomy("12691009", "Brachiocephalic trunk", (235, 90, 60), "A_Brachiocephls"),
    _Anatomy("69105007", "Carotid artery", (240, 70, 40), "A_Carotid", "A_Carotid"),
    _Anatomy("41801008", "Coronary artery", (255, 150, 60), "A_Coronary", "A_Coronary"),
    _Anatomy("59438005", "Left anterior descending coronary artery", (255, 170, 0), "A_LAD"),
    _Anatomy("81040000", "Pulmonary artery", (80, 110, 255), "A_Pulmonary"),
    _Anatomy("36765005", "Subclavian artery", (225, 100, 80), "A_Subclavian", "A_Subclavian"),
    _Anatomy("73634005", "Common iliac artery", (215, 60, 60), paired="A_Iliac"),
    _Anatomy("72107004", "Azygos vein", (70, 90, 200), "V_Azygos"),
    _Anatomy("8887007", "Brachiocephalic vein", (60, 120, 220), paired="V_Brachioceph"),
    _Anatomy("12123001", "Internal jugular vein", (100, 140, 240), paired="V_Jugular_Int"),
    _Anatomy("32764006", "Portal vein", (90, 80, 180), "V_Portal"),
    _Anatomy("430757002", "Pulmonary vein", (255, 130, 150), "V_Pulmonary"),
    _Anatomy("64131007", "Inferior vena cava", (40, 70, 190), "V_Venacava_I"),
    _Anatomy("48345005", "Superior vena cava", (60, 90, 220), "V_Venacava_S"),
    _Anatomy("46027005", "Common iliac vein", (50, 80, 170), paired="V_Iliac"),
    _Anatomy("3711007", "Great vessel", (200, 90, 140), "GreatVes"),
    # Spine
    _Anatomy("2748008", "Spinal cord", (255, 255, 0), "SpinalCord"),
    _Anatomy("61853006", "Vertebral canal", (190, 220, 60), "SpinalCanal"),
    _Anatomy("7173007", "Cauda equina", (220, 230, 110), "CaudaEquina"),
    _Anatomy("37554007", "Spinal dura mater", (170, 200, 90), "ThecalSac"),
    _Anatomy("54735007", "Sacrum", (200, 190, 160), "Sacrum"),
    # Abdomen and pelvis
    _Anatomy("10200004", "Liver", (150, 80, 40), "Liver"),
    _Anatomy("78961009", "Spleen", (150, 60, 150), "Spleen"),
    _Anatomy("69695003", "Stomach", (120, 200, 80), "Stomach"),
    _Anatomy("64033007", "Kidney", (230, 130, 60), paired="Kidney", both="Kidneys"),
    _Anatomy("23451007", "Adrenal gland", (250, 200, 90), "Glnd_Adrenal", "Glnd_Adrenal"),
    _Anatomy("15776009", "Pancreas", (230, 200, 120), "Pancreas"),
    _Anatomy("28231008", "Gallbladder", (60, 160, 60), "Gallbladder"),
    _Anatomy("38848004", "Duodenum", (100, 230, 140), "Duodenum"),
    _Anatomy("71854001", "Colon", (180, 140, 60), "Colon"),
    _Anatomy("113276009", "Intestine", (170, 160, 90), "Bowel"),
    _Anatomy("14742008", "Large intestine", (180, 150, 80), "Bowel_Large"),
    _Anatomy("30315005", "Small intestine", (210, 180, 100), "Bowel_Small"),
    _Anatomy("34402009", "Rectum", (140, 90, 50), "Rectum"),
    _Anatomy("89837001", "Bladder", (255, 230, 80), "Bladder"),
    _Anatomy("41216001", "Prostate", (200, 60, 200), "Prostate"),
    # Head and neck
    _Anatomy("12738006", "Brain", (240, 180, 190), "Brain"),
    _Anatomy("15926001", "Brainstem", (0, 150, 90), "Brainstem"),
    _Anatomy("49557009", "Pons", (0, 120, 110), "Pons"),
    _Anatomy("113305005", "Cerebellum", (200, 120, 160), "Cerebellum"),
    _Anatomy("83678007", "Cerebrum", (230, 160, 180), "Cerebrum", "Cerebrum"),
    _Anatomy("5366008", "Hippocampus", (0, 200, 120), paired="Hippocampus", both="Hippocampi"),
    _Anatomy("67923007", "Hypothalamus", (150, 100, 200), "Hypothalmus"),  # TG-263's own spelling
    _Anatomy("78277001", "Temporal lobe", (180, 150, 210), "Lobe_Temporal", "Lobe_Temporal"),
    _Anatomy("83251001", "Frontal lobe", (210, 170, 150), "Lobe_Frontal", "Lobe_Frontal"),
    _Anatomy("31065004", "Occipital lobe", (160, 180, 210), "Lobe_Occipital", "Lobe_Occipital"),
    _Anatomy("16630005", "Parietal lobe", (190, 200, 160), "Lobe_Parietal", "Lobe_Parietal"),
    _Anatomy("56329008", "Pituitary", (255, 0, 200), "Pituitary"),
    _Anatomy("244453006", "Optic chiasm", (255, 120, 0), "OpticChiasm"),
    _Anatomy("18234004", "Optic nerve", (255, 160, 60), "OpticNrv", "OpticNrv"),
    _Anatomy("81745001", "Eye", (0, 200, 255), paired="Eye", both="Eyes"),
    _Anatomy("363654007", "Orbit", (110, 160, 190), paired="Orbit"),
    _Anatomy("78076003", "Lens", (0, 255, 160), "Lens", "Lens"),
    _Anatomy("28726007", "Cornea", (120, 240, 255), "Cornea", "Cornea"),
    _Anatomy("5665001", "Retina", (190, 90, 90), paired="Retina", both="Retinas"),
    _Anatomy("13561001", "Lacrimal gland", (170, 120, 255), "Glnd_Lacrimal", "Glnd_Lacrimal"),
    _Anatomy("80169004", "Cochlea", (255, 90, 255), "Cochlea", "Cochlea"),
    _Anatomy("45289007", "Parotid gland", (80, 220, 80), paired="Parotid", both="Parotids"),
    _Anatomy("385296007", "Submandibular gland", (150, 230, 60), paired="Glnd_Submand", both="Glnd_Submands"),
    _Anatomy("88481005", "Sublingual gland", (190, 240, 120), paired="Glnd_Subling", both="Glnd_Sublings"),
    _Anatomy("69748006", "Thyroid", (200, 80, 80), "Glnd_Thyroid"),
    _Anatomy("74262004", "Oral cavity", (255, 150, 150), "Cavity_Oral"),
    _Anatomy("279549004", "Nasal cavity", (170, 210, 230), "Cavity_Nasal"),
    _Anatomy("21974007", "Tongue", (220, 100, 110), "Tongue"),
    _Anatomy("81083006", "Both lips", (250, 120, 140), "Lips"),
    _Anatomy("4596009", "Larynx", (90, 200, 160), "Larynx"),
    _Anatomy("86483002", "Supraglottic space", (60, 170, 140), "Larynx_SG"),
    _Anatomy("54066008", "Pharynx", (220, 140, 90), "Pharynx"),
    _Anatomy("4866005", "Constrictor muscle of pharynx", (200, 120, 70), "Musc_Constrict"),
    # Bones
    _Anatomy("91609006", "Mandible", (230, 220, 170), "Bone_Mandible"),
    _Anatomy("70925003", "Maxilla", (220, 210, 150), "Maxilla"),
    _Anatomy("21387005", "Hyoid bone", (210, 200, 140), "Bone_Hyoid"),
    _Anatomy("89546000", "Skull", (240, 235, 210), "Skull"),
    _Anatomy("272673000", "Bone", (240, 230, 190), "Bone"),
    _Anatomy("51299004", "Clavicle", (200, 200, 120), paired="Clavicle"),
    _Anatomy("79601000", "Scapula", (190, 180, 130), paired="Scapula"),
    _Anatomy("56873002", "Sternum", (220, 200, 160), "Sternum"),
    _Anatomy("113197003", "Rib", (210, 190, 150), "Rib"),
    _Anatomy("85050009", "Humerus", (180, 170, 120), paired="Humerus"),
    _Anatomy("71341001", "Femur", (190, 170, 110), "Femur", "Femur", "Femurs"),
    _Anatomy("2812003", "Head of femur", (170, 150, 90), paired="Femur_Head"),
    _Anatomy("118645006", "Bones of pelvis", (200, 180, 140), "Bone_Pelvic", "Bone_Pelvic"),
    _Anatomy("22356005", "Ilium", (190, 175, 135), "Bone_Ilium", "Bone_Ilium"),
    _Anatomy("39937001", "Skin", (250, 210, 180), "Skin"),
)

_LUNG_LOBES = (
    ("Lung_LUL", Code("45653009", "SCT", "Upper lobe of lung"), LEFT, (110, 200, 240)),
    ("Lung_LLL", Code("90572001", "SCT", "Lower lobe of lung"), LEFT, (60, 150, 210)),
    ("Lung_RUL", Code("45653009", "SCT", "Upper lobe of lung"), RIGHT, (130, 220, 190)),
    ("Lung_RML", Code("72481006", "SCT", "Middle lobe of right lung"), RIGHT, (90, 200, 150)),
    ("Lung_RLL", Code("90572001", "SCT", "Lower lobe of lung"), RIGHT, (50, 170, 120)),
)

# Bodies of the vertebrae, as TG-263 defines VB; C1 and C2 have none and stand for the whole bone.
_VERTEBRAE = {
    "VB_C1": ("14806007", "C1 vertebra"),
    "VB_C2": ("39976000", "C2 vertebra"),
    "VB_C3": ("91116008", "Body of third cervical vertebra"),
    "VB_C4": ("14705001", "Body of fourth cervical vertebra"),
    "VB_C5": ("67479001", "Body of fifth cervical vertebra"),
    "VB_C6": ("88298007", "Body of sixth cervical vertebra"),
    "VB_C7": ("16126006", "Body of seventh cervical vertebra"),
    "VB_T01": ("56094003", "Body of first thoracic vertebra"),
    "VB_T02": ("50060007", "Body of second thoracic vertebra"),
    "VB_T03": ("73138009", "Body of third thoracic vertebra"),
    "VB_T04": ("86197001", "Body of fourth thoracic vertebra"),
    "VB_T05": ("6105006", "Body of fifth thoracic vertebra"),
    "VB_T06": ("32430008", "Body of sixth thoracic vertebra"),
    "VB_T07": ("71737002", "Body of seventh thoracic vertebra"),
    "VB_T08": ("77435000", "Body of eighth thoracic vertebra"),
    "VB_T09": ("33766003", "Body of ninth thoracic vertebra"),
    "VB_T10": ("48405002", "Body of tenth thoracic vertebra"),
    "VB_T11": ("52120002", "Body of eleventh thoracic vertebra"),
    "VB_T12": ("280849005", "Body of twelfth thoracic vertebra"),
    "VB_L1": ("61032001", "Body of first lumbar vertebra"),
    "VB_L2": ("53983007", "Body of second lumbar vertebra"),
    "VB_L3": ("55492004", "Body of third lumbar vertebra"),
    "VB_L4": ("71996003", "Body of fourth lumbar vertebra"),
    "VB_L5": ("21799000", "Body of fifth lumbar vertebra"),
    "VBs": ("3572006", "Body of vertebra"),
}

_RIBS = (
    ("48535007", "First rib"),
    ("78247007", "Second rib"),
    ("25888004", "Third rib"),
    ("25523003", "Fourth rib"),
    ("15339008", "Fifth rib"),
    ("59558009", "Sixth rib"),
    ("24915002", "Seventh rib"),
    ("5953002", "Eighth rib"),
    ("22565002", "Ninth rib"),
    ("77644006", "Tenth rib"),
    ("58830002", "Eleventh rib"),
    ("43993008", "Twelfth rib"),
)

# Neighbours along the spine and the rib cage must be told apart on screen: three hues in turn.
_LEVEL_COLORS: tuple[Rgb, ...] = ((255, 200, 120), (140, 200, 255), (180, 230, 140))

_OTHERS = (
    # PS3.16 CID 9507: the body alone, or with what lies outside it (TG-263's distinction, too).
    NomenclatureEntry(
        "External", InterpretedType.EXTERNAL, (0, 255, 0), Code("130068", "DCM", "Extended Patient Anatomy Model")
    ),
    NomenclatureEntry("Body", InterpretedType.EXTERNAL, (0, 230, 0), Code("130067", "DCM", "Patient Anatomy Model")),
    NomenclatureEntry("CouchSurface", InterpretedType.SUPPORT, (120, 120, 120)),
    NomenclatureEntry("CouchInterior", InterpretedType.SUPPORT, (160, 160, 160)),
)


@cache
def _table() -> dict[str, NomenclatureEntry]:
    entries = [*_organ_entries(), *_level_entries(), *_OTHERS]
    return {entry.name: entry for entry in entries}


def _organ_entries() -> list[NomenclatureEntry]:
    entries = []
    for organ in _ORGANS:
        code = Code(organ.code, "SCT", organ.meaning)
        sides = [(organ.single, None, organ.color_rgb), (organ.both, BOTH, organ.color_rgb)]
        if organ.paired is not None:
            sides.append((f"{organ.paired}_L", LEFT, organ.color_rgb))
            sides.append((f"{organ.paired}_R", RIGHT, _paler(organ.color_rgb)))
        entries += [
            NomenclatureEntry(name, InterpretedType.ORGAN, color, code, side) for name, side, color in sides if name
        ]
    entries += [NomenclatureEntry(n, InterpretedType.ORGAN, color, code, side) for n, code, side, color in _LUNG_LOBES]
    return entries


def _level_entries() -> list[NomenclatureEntry]:
    entries = []
    for level, (name, (value, meaning)) in enumerate(_VERTEBRAE.items()):
        color = _LEVEL_COLORS[level % 3]
        entries.append(NomenclatureEntry(name, InterpretedType.ORGAN, color, Code(value, "SCT", meaning)))
    for level, (value, meaning) in enumerate(_RIBS):
        color, code = _LEVEL_COLORS[level % 3], Code(value, "SCT", meaning)
        for letter, side, shade in (("L", LEFT, color), ("R", RIGHT, _paler(color))):
            name = f"Rib{level + 1:02d}_{letter}"
            entries.append(NomenclatureEntry(name, InterpretedType.ORGAN, shade, code, side))
    return entries


def _vertebra_entry(name: str, found: re.Match[str]) -> NomenclatureEntry | None:
    """Whole vertebrae have the colours of their bodies, and bodies of unknown level the code of any body."""
    if found["level"]:
        body = _table().get(f"VB_{found['level']}")
        return replace(body, name=name, code=None) if body else None
    color = _LEVEL_COLORS[int(found["number"]) % 3]
    code = _table()["VBs"].code if found["kind"] == "VB" else None
    return NomenclatureEntry(name, InterpretedType.ORGAN, color, code)


def _paler(color: Rgb) -> Rgb:
    """Two fifths of the way to white: the right side of a pair, so that a swap is seen."""
    red, green, blue = ((3 * c + 2 * 255) // 5 for c in color)
    return red, green, blue
