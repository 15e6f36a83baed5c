"""What the networks of the head are measured on: OpenKBP's validation patients, and made heads nobody trained on.

The planning CTs count twice: with every reference as it was drawn, and without those that are wrong by eye or lie
outside the image in part. Made heads show an anatomy that was really drawn, under an appearance that was not scanned.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from contour.cases.importing import Imported, ImportedIdentity, import_masks
from contour.cases.overrides import load_overrides
from contour.cases.store import RECORD_FILE, Case, Status, save_case
from contour.config import load_config, shipped_folder
from contour.core.structures import StructureSet
from contour.core.volume import Modality, Volume
from contour.training.appearance import draw_appearance
from contour.training.config import TrainingConfig
from scripts.head_ct.heads import LabelledHead, rater_head, whole_head
from scripts.head_ct.openkbp import DRAWN_AS_NEEDED, HELD_OUT_WRONG, cleaned_case, list_patients
from scripts.head_ct.prepare import HELD_OUT_HEADS, HELD_OUT_SCANS, making
from scripts.head_ct.two_raters import compare_raters, limits_table
from scripts.starter.recipe import ValidationSet

OPENKBP, RATERS, HEADS = Path("headneck/openkbp"), Path("headneck/tcia_two_raters"), Path("brain/synthseg_head_labels")
MADE_MM, SMALL_MADE_MM = 2.5, 1.25
WHOLE = 0.995  # the part of a structure in the image from which on it counts as whole
MADE_FROM_RATERS = ("Brain", "Brainstem", "SpinalCord", "Mandible", "Parotid_L", "Parotid_R", "Eye_L", "Eye_R")
MADE_FROM_HEADS = ("Brain", "Brainstem", "SpinalCord", "Eye_L", "Eye_R")
SMALL_FROM_RATERS = ("Eye", "Lens", "OpticNrv", "Cochlea")


def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """Planning CTs and made heads, as cases in `folder`; those that are there stay."""
    config = load_config(shipped_folder("configs") / "training" / "head_ct.yaml", TrainingConfig)
    patients = [patient for patient in list_patients(data / OPENKBP) if not patient.training]
    as_drawn = tuple(_stored(folder, p.name, partial(cleaned_case, data / OPENKBP, p)) for p in patients)
    sound = tuple(
        _stored(folder / "sound", p.name, partial(sound_case, data, partial(cleaned_case, data / OPENKBP, p)))
        for p in patients
    )
    made = [_stored(folder, f"made_{s}", partial(made_scan, data, s, config)) for s in HELD_OUT_SCANS]
    made += [_stored(folder, f"made_{h}", partial(made_head, data, h, config)) for h in HELD_OUT_HEADS]
    return (
        ValidationSet("openkbp", "OpenKBP validation patients, every reference as it was drawn", as_drawn),
        ValidationSet("openkbp_sound", "The same, without references that are wrong or cut by the image", sound),
        ValidationSet(
            "made", "Made heads (label maps with a drawn appearance), patients that no training saw", tuple(made)
        ),
    )


def small_validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """Made heads on fine voxels, as cases in `folder`; those that are there stay."""
    config = load_config(shipped_folder("configs") / "training" / "head_ct_small.yaml", TrainingConfig)
    scans = [_stored(folder, f"fine_{s}", partial(made_scan, data, s, config, SMALL_MADE_MM)) for s in HELD_OUT_SCANS]
    heads = [_stored(folder, f"fine_{h}", partial(made_head, data, h, config, SMALL_MADE_MM)) for h in HELD_OUT_HEADS]
    return (
        ValidationSet("made_scans", "Made heads with a rater's contours, patients that no training saw", tuple(scans)),
        ValidationSet("made_heads", "Made heads of label maps published with SynthSeg, for the chiasm", tuple(heads)),
    )


def human_limit(_: Path, data: Path) -> str:
    """How two raters agree with each other on the same scans, in Markdown."""
    table = limits_table(tuple(compare_raters(data / RATERS)))
    return f"**The human limit: an oncologist against a radiographer on the same scans**\n\n{table}"


def sound_case(data: Path, make: Callable[[], Case]) -> Case:
    """A case without the references that are wrong by eye, or of which the image shows a part only."""
    case = make()
    name = case.record.name
    listed = json.loads((data / OPENKBP / "cases.json").read_text(encoding="utf-8"))[name]["structures"]
    wrong = load_overrides(HELD_OUT_WRONG)

    def kept(structure: str) -> bool:
        cut = listed[structure]["fraction_in_image"] < WHOLE and structure not in DRAWN_AS_NEEDED
        return wrong.of(name, structure) is None and not cut

    entries = tuple(
        entry if kept(entry.name) else replace(entry, status=Status.NOT_DRAWN, drawn_slices=None)
        for entry in case.record.structures
    )
    structures = tuple(s for s in case.structures.structures if kept(s.name))
    kept_set = StructureSet(case.structures.label, case.structures.geometry, structures)
    return Case(replace(case.record, structures=entries), case.volume, kept_set)


def made_scan(data: Path, scan: str, config: TrainingConfig, spacing_mm: float = MADE_MM) -> Case:
    """A scan that an oncologist drew, completed by a head that was held out too, with an appearance."""
    name = f"{scan}_oncologist"
    lender = data / HEADS / HELD_OUT_HEADS[HELD_OUT_SCANS.index(scan) % 3]  # the fourth ends above the neck
    head = rater_head(data / RATERS, name, lender, making(name, spacing_mm, config))
    wanted = [label.name for label in config.labels]
    drawn = [n for n in wanted if n in MADE_FROM_RATERS or n.startswith(SMALL_FROM_RATERS)]
    return _made(scan, head, tuple(drawn), config)


def made_head(data: Path, name: str, config: TrainingConfig, spacing_mm: float = MADE_MM) -> Case:
    """A whole head with an appearance."""
    head = whole_head(data / HEADS, name, making(name, spacing_mm, config))
    names = (*(label.name for label in config.labels if label.name in MADE_FROM_HEADS),)
    chiasm = tuple(label.name for label in config.labels if label.name == "OpticChiasm")
    return _made(name, head, (*names, *chiasm), config)


def _made(name: str, head: LabelledHead, drawn: tuple[str, ...], config: TrainingConfig) -> Case:
    assert config.synthesis is not None
    spacing = head.geometry.spacing_zyx_mm
    image = draw_appearance(head.codes_zyx, config.synthesis, spacing, np.random.RandomState(len(name)))
    volume = Volume(np.rint(image).astype(np.int16), head.geometry, Modality.CT)
    inner = {outer.name: outer.also for outer in config.labels}
    masks = tuple((Imported(n), head.mask(n, *inner[n])) for n in drawn if head.mask(n).any())
    return import_masks(volume, masks, ImportedIdentity(f"made_{name}", name, note="made from a label map"))


def _stored(folder: Path, name: str, make: Callable[[], Case]) -> Path:
    if not (folder / name / RECORD_FILE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        case = make()
        save_case(replace(case, record=replace(case.record, name=name)), folder)
    return folder / name
