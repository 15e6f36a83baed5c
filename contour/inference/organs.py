"""How high organs lie in an adult, against the tips of the lungs: what tells on which side of a scan an organ lies.

Heights are mm along the body, positive towards the head, of an adult lying on the back in shallow breathing: medians
over label maps of a whole trunk and a chest, and over planning CTs of 70 necks. Persons differ by some 40 mm, at the
pelvis and the vertex by more.
"""

from dataclasses import dataclass
from enum import StrEnum


class Site(StrEnum):
    """A part of the body, as protocols are made for."""

    HEAD = "head"
    NECK = "neck"
    CHEST = "chest"
    ABDOMEN = "abdomen"
    PELVIS = "pelvis"


@dataclass(frozen=True)
class Organ:
    """Where an organ lies along the body.

    `low_mm` and `high_mm` are its ends. `usual_ml` is its volume, where a network that locates draws it. `within` names
    organs that it lies among: so far as it is not seen itself, it is where these are.
    """

    name: str
    site: Site
    low_mm: float
    high_mm: float
    usual_ml: float = 0.0
    within: tuple[str, ...] = ()


def organ(name: str) -> Organ | None:
    """What is known of the organ of a TG-263 name; the sides of a pair lie alike, and vertebrae in their part."""
    stem = name.removesuffix("_L").removesuffix("_R")
    known = _ORGANS.get(name) or _ORGANS.get(stem)
    if known is None and name.startswith("VB_"):
        known = _SPINE.get(name[3:4])
    return known


def family(name: str) -> Organ | None:
    """What is known of the structures that a family's name stands for (`Manifest.offered`), taken together.

    Not an `organ`: a family reaches through several sites and makes none.
    """
    return _FAMILIES.get(name)


_LUNGS = ("Lung_L", "Lung_R")
_HEAD = ("Brain", "Eye_L", "Eye_R")

_ORGANS = {
    o.name: o
    for o in (
        # Drawn by the network that locates
        Organ("Brain", Site.HEAD, 136, 296, 1200),
        Organ("Eye", Site.HEAD, 190, 215, 7),
        Organ("Mandible", Site.HEAD, 84, 160, 55),
        Organ("Larynx", Site.NECK, 24, 64, 25),
        Organ("Spine_C", Site.NECK, 15, 140, 100),
        Organ("Trachea", Site.CHEST, -100, 15, 30),
        Organ("Lung", Site.CHEST, -235, 0, 1700),
        Organ("Heart", Site.CHEST, -200, -70, 600),
        Organ("A_Aorta", Site.CHEST, -350, -55, 220),
        Organ("Spine_T", Site.CHEST, -262, 15, 350),
        Organ("Liver", Site.ABDOMEN, -320, -175, 1400),
        Organ("Spleen", Site.ABDOMEN, -275, -200, 190),
        Organ("Stomach", Site.ABDOMEN, -310, -205, 200),
        Organ("Kidney", Site.ABDOMEN, -340, -235, 150),
        Organ("Spine_L", Site.ABDOMEN, -425, -262, 330),
        Organ("Sacrum", Site.PELVIS, -545, -410, 240),
        Organ("Bone_Pelvic", Site.PELVIS, -600, -390, 800),
        Organ("SpinalCord", Site.CHEST, -310, 136, 60, within=("Spine_C", "Spine_T", "Spine_L")),
        # Found by what is around them
        Organ("Brainstem", Site.HEAD, 130, 190, within=("Brain",)),
        Organ("Hippocampus", Site.HEAD, 175, 220, within=("Brain",)),
        Organ("OpticChiasm", Site.HEAD, 195, 215, within=_HEAD),
        Organ("OpticNrv", Site.HEAD, 190, 220, within=_HEAD),
        Organ("Lens", Site.HEAD, 195, 215, within=("Eye_L", "Eye_R")),
        Organ("Cochlea", Site.HEAD, 165, 190, within=("Brain",)),
        Organ("Parotid", Site.HEAD, 100, 170, within=("Mandible", "Brain")),
        Organ("Glnd_Submand", Site.NECK, 65, 110, within=("Mandible",)),
        Organ("Cavity_Oral", Site.HEAD, 85, 145, within=("Mandible",)),
        Organ("SpinalCanal", Site.CHEST, -545, 136, within=("SpinalCord", "Spine_C", "Spine_T", "Spine_L", "Sacrum")),
        Organ("Esophagus", Site.CHEST, -215, 25, within=(*_LUNGS, "Heart", "Trachea")),
        Organ("Bronchus", Site.CHEST, -150, -85, within=_LUNGS),
        Organ("AirWay_Prox", Site.CHEST, -150, -60, within=_LUNGS),
        Organ("Lungs", Site.CHEST, -235, 0, within=_LUNGS),
        Organ("A_Pulmonary", Site.CHEST, -140, -90, within=_LUNGS),
        Organ("V_Venacava_S", Site.CHEST, -140, -50, within=_LUNGS),
        Organ("V_Venacava_I", Site.ABDOMEN, -420, -190, within=("A_Aorta", "Liver", "Spine_L")),
        Organ("Kidneys", Site.ABDOMEN, -340, -235, within=("Kidney_L", "Kidney_R")),
        Organ("Pancreas", Site.ABDOMEN, -310, -250, within=("Liver", "Stomach", "Spleen")),
        Organ("GallBladder", Site.ABDOMEN, -320, -260, within=("Liver",)),
        Organ("Bladder", Site.PELVIS, -590, -500, within=("Bone_Pelvic",)),
        Organ("Rectum", Site.PELVIS, -590, -470, within=("Bone_Pelvic", "Sacrum")),
        Organ("Prostate", Site.PELVIS, -620, -575, within=("Bone_Pelvic",)),
    )
}

_SPINE = {
    "C": Organ("VB_C", Site.NECK, 15, 140, within=("Spine_C",)),
    "T": Organ("VB_T", Site.CHEST, -262, 15, within=("Spine_T",)),
    "L": Organ("VB_L", Site.ABDOMEN, -425, -262, within=("Spine_L",)),
}

_FAMILIES = {
    name: Organ(name, Site.CHEST, -425, 140, within=("Spine_C", "Spine_T", "Spine_L")) for name in ("VBs", "Vertebrae")
}
