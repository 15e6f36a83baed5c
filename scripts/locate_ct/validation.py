"""What the network that locates is measured on, beside the Dice of its outlines: what is concluded from them.

Each image is shown whole and in parts (its lower and upper half, its middle third). What the references say is in view
must not be called outside; what they say lies in the rest of the image should be, beyond the right end.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from contour.cases.store import RECORD_FILE, Case, save_case
from contour.config import load_config, shipped_folder
from contour.core.errors import InputRefused
from contour.core.geometry import Box
from contour.core.protocol import Protocol
from contour.core.structures import Mask
from contour.core.volume import Volume
from contour.imaging.preprocess import from_canonical, to_canonical
from contour.inference.engine import NetworkEngine
from contour.inference.locate import TURNS, End, Location, Sighting, locate
from contour.inference.organs import organ
from contour.inference.package import load_package
from contour.inference.session import open_network
from contour.qa.view import refuse_other_site
from scripts.head_ct.openkbp import list_patients
from scripts.locate_ct.cases import neck_case, synthetic_head, trunk_case
from scripts.locate_ct.prepare import HELD_OUT_ABDOMEN, Source
from scripts.starter.recipe import ValidationSet
from scripts.thorax_ct.evaluate import clinical_case

HEADS = ("seg_17", "seg_18", "seg_19", "seg_20")
WINDOWS = ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (1 / 3, 2 / 3))  # parts of the image along the body, from below
IN_VIEW = 0.25  # of an organ's voxels: with these it is called in view; with none, out of it
DRAWN_FROM_END_TO_END = ("Brain", "Mandible", "Larynx", "Lung_L", "Lung_R", "Heart", "Liver", "Spleen", "Stomach")
ALSO_DRAWN_WHOLE = ("Kidney_L", "Kidney_R", "Sacrum", "Bone_Pelvic", "Eye_L", "Eye_R")


@dataclass
class Tally:
    """What was concluded about one structure over all images and their parts."""

    in_view: int = 0
    seen: int = 0
    called_outside: int = 0
    away: int = 0
    stated: int = 0
    wrong_end: int = 0
    imagined: int = 0


def validation(data: Path, folder: Path) -> tuple[ValidationSet, ...]:
    """The cases in `folder`, by site; those that are there stay."""
    sets = []
    for name, title, sources in _sources(data):
        for source in sources:
            if not (folder / source.name / RECORD_FILE).exists():
                save_case(source.make(), folder)
        sets.append(ValidationSet(name, title, tuple(folder / source.name for source in sources)))
    return tuple(sets)


def measure(package: Path, data: Path) -> str:
    """What the package's outlines let conclude, in Markdown."""
    network = open_network(load_package(package))
    protocol = load_config(shipped_folder("configs") / "protocols" / "thorax_oar.yaml", Protocol)
    tallies: dict[str, Tally] = defaultdict(Tally)
    errors: dict[str, list[float]] = defaultdict(list)
    doubts, refused, turned = [], defaultdict(list), defaultdict(list)
    for name, _, sources in _sources(data):
        for source in sources:
            case = source.make()
            for i, (location, part) in enumerate(_shown(network, case)):
                if location.doubt:
                    doubts.append(f"{source.name} ({location.doubt})")
                _count(tallies, location, part)
                if i == 0:
                    _compare(errors, location, part)
                    refused[name].append(_is_refused(location, protocol))
                    for exchanged, found in _as_stored_and_turned(network, location, case.volume):
                        turned[exchanged].append(found)
    sites = ", ".join(f"{name} {sum(found)} of {len(found)}" for name, found in refused.items())
    turns = ", ".join(f"{exchanged} {sum(found)} of {len(found)}" for exchanged, found in turned.items())
    return "\n".join(
        (
            f"Images refused because they show a body only once turned: {turns}.",
            "",
            f"Images refused for the protocol {protocol.name}, in whole: {sites}. "
            f"In doubt: {', '.join(doubts) or 'none'}.",
            "",
            "| structure | in view | seen | called outside | away | stated | wrong end | imagined | box, mm |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_row(name, tally, errors[name]) for name, tally in sorted(tallies.items())),
            "",
            "Images and their parts: `in view` with a quarter of the structure's voxels or more, `away` with none of "
            "them while the whole image has some. `stated`: called outside; `imagined`: seen all the same. `box`: by "
            "how much the ends of its box err, median and worst, on whole images.",
        )
    )


def _sources(data: Path) -> Iterator[tuple[str, str, tuple[Source, ...]]]:
    archive = sorted(path for path in (data / "archive").iterdir() if path.is_dir())
    yield (
        "chests",
        "Clinical planning CTs (NSCLC-Radiomics, TCIA; validation only)",
        tuple(Source(path.name, 0.0, partial(clinical_case, path)) for path in archive),
    )
    necks = tuple(p for p in list_patients(data / "headneck" / "openkbp") if not p.training)
    yield (
        "necks",
        "Planning CTs of the OpenKBP challenge's validation; brain and lungs by HU",
        tuple(Source(p.name, 0.0, partial(neck_case, data, p)) for p in necks),
    )
    abdomen = Source(HELD_OUT_ABDOMEN, 0.0, partial(trunk_case, data, HELD_OUT_ABDOMEN))
    yield "abdomen", "One abdomen with automatic labels", (abdomen,)
    heads = tuple(Source(f"{name}_0", 0.0, partial(synthetic_head, data, name, 0)) for name in HEADS)
    yield "heads", "Made images of four heads", heads


@dataclass(frozen=True)
class _Part:
    """A part of an image: its structures' masks in the whole canonical image, and the slices that are shown."""

    masks: dict[str, Mask]
    shown: slice
    volume: Volume


def _shown(network: NetworkEngine, case: Case) -> Iterator[tuple[Location, _Part]]:
    volume = case.volume
    depth = volume.geometry.shape_zyx[0]
    whole = {
        s.name: np.asarray(to_canonical(s.full_mask(volume.geometry.shape_zyx), volume.geometry), dtype=bool)
        for s in case.structures.structures
        if not s.empty and s.name in (*DRAWN_FROM_END_TO_END, *ALSO_DRAWN_WHOLE)
    }
    for low, high in WINDOWS:
        shown = slice(round(low * depth), round(high * depth))
        part = _cropped(volume, shown)
        yield locate(network, part), _Part(whole, shown, part)


def _cropped(volume: Volume, canonical: slice) -> Volume:
    """The slices from low to high along the body; slices of these images run along it."""
    depth = volume.geometry.shape_zyx[0]
    upwards = volume.geometry.axes_lps[0][2] > 0
    first, last = (canonical.start, canonical.stop) if upwards else (depth - canonical.stop, depth - canonical.start)
    box = Box((first, 0, 0), (last, *volume.geometry.shape_zyx[1:]))
    return Volume(volume.voxels_zyx[first:last], volume.geometry.cropped(box), volume.modality)


def _count(tallies: dict[str, Tally], location: Location, part: _Part) -> None:
    for name, mask in part.masks.items():
        if name not in location.able:
            continue
        tally, inside = tallies[name], int(mask[part.shown].sum())
        if inside >= IN_VIEW * mask.sum():
            tally.in_view += 1
            tally.seen += location.sighting(name) is not None
            tally.called_outside += location.outside(name) is not None
        elif inside == 0:
            tally.away += 1
            end = End.BELOW if np.flatnonzero(mask.any(axis=(1, 2)))[0] < part.shown.start else End.ABOVE
            tally.imagined += location.sighting(name) is not None
            tally.stated += location.outside(name) is end
            tally.wrong_end += location.outside(name) not in (None, end)


def _compare(errors: dict[str, list[float]], location: Location, part: _Part) -> None:
    for name, mask in part.masks.items():
        seen = location.sighting(name)
        if seen is not None and organ(name) is not None:
            errors[name] += _box_errors_mm(seen, mask, location, part.volume)


def _box_errors_mm(seen: Sighting, mask: Mask, location: Location, volume: Volume) -> list[float]:
    """How far the six ends of the box lie from those of the reference."""
    stored = np.argwhere(from_canonical(mask, volume.geometry))
    corners = volume.geometry.index_to_lps_mm(np.stack([stored.min(axis=0), stored.max(axis=0)]))
    on_coarse = np.sort(location.geometry.lps_mm_to_index(corners), axis=0)
    spacing = np.asarray(location.geometry.spacing_zyx_mm)
    low = np.abs(on_coarse[0] - np.asarray(seen.box.start_zyx)) * spacing
    high = np.abs(on_coarse[1] - (np.asarray(seen.box.stop_zyx) - 1)) * spacing
    return [float(mm) for mm in (*low, *high)]


def _is_refused(location: Location, protocol: Protocol) -> bool:
    try:
        refuse_other_site(location, protocol)
    except InputRefused:
        return True
    return False


def _as_stored_and_turned(network: NetworkEngine, location: Location, volume: Volume) -> Iterator[tuple[str, bool]]:
    """Whether an image is found to be turned: as it is, and with what is exchanged."""
    yield "as stored", bool(location.turned)
    for exchanged, axes in TURNS.items():
        turned = Volume(np.flip(volume.voxels_zyx, axes), volume.geometry, volume.modality)
        yield f"with {exchanged}", bool(locate(network, turned).turned)


def _row(name: str, tally: Tally, errors_mm: list[float]) -> str:
    box = f"{median(errors_mm):.0f}, {max(errors_mm):.0f}" if errors_mm else "-"
    counts = (
        tally.in_view,
        tally.seen,
        tally.called_outside,
        tally.away,
        tally.stated,
        tally.wrong_end,
        tally.imagined,
    )
    return f"| {name} | {' | '.join(map(str, counts))} | {box} |"
