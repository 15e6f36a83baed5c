"""What is made of a network's labels beyond themselves: the steps that its package names."""

from dataclasses import dataclass, replace

from contour.core.report import Finding
from contour.core.structures import CroppedMask
from contour.core.volume import Volume
from contour.imaging.aeration import with_aerated
from contour.imaging.vertebrae import Part
from contour.inference.engine import NetworkEngine, Progress
from contour.inference.package import FAMILIES, LUNGS, SPINE_LABELS, Manifest, Step
from contour.inference.predict import Drawn, PredictOptions, nothing, predict
from contour.inference.spine import draw_vertebrae

SACRUM = SPINE_LABELS[Part.SACRUM - 1]
NOT_LUNG = ("Trachea", "Bronchus", "AirWay_Prox", "Esophagus", "Stomach", "Bowel", "Colon", "SmallBowel")


@dataclass(frozen=True)
class Prediction:
    """What a network and its steps draw of what was asked for, and what a person should know about it."""

    drawn: tuple[Drawn, ...]
    findings: tuple[Finding, ...] = ()


def predict_with_steps(
    network: NetworkEngine,
    volume: Volume,
    wanted: tuple[str, ...],
    progress: Progress | None = None,
    *,
    options: PredictOptions | None = None,
) -> Prediction:
    """As `predict`, with the steps of the package, for names of structures and of families.

    Of a family each member is a structure of its own, which says in `Drawn.family` what it was asked for as. A family
    without members is there with an empty mask. What a step needs besides what is wanted is drawn for it alone.

    Raises:
        PackageError, InputRefused: as `predict`.
    """
    families = tuple(name for name in wanted if name in FAMILIES and name in network.manifest.offered)
    plain = tuple(name for name in wanted if name not in families)
    looked_for = dict.fromkeys((*plain, *_needed(network.manifest, wanted)))
    found = predict(network, volume, tuple(looked_for), progress, options=options or PredictOptions())
    drawn = {one.name: one for one in found}
    if Step.AERATED_LUNGS in network.manifest.steps and not drawn.keys().isdisjoint(LUNGS):
        drawn.update(_aerated(volume, drawn))
    if not families:
        return Prediction(tuple(drawn[name] for name in plain))
    spine = draw_vertebrae(tuple(drawn[name] for name in SPINE_LABELS), volume.geometry, families)
    if not spine.sacrum:
        drawn[SACRUM] = nothing(drawn[SACRUM], SACRUM)
    return Prediction((*(drawn[name] for name in plain), *spine.members), spine.findings)


def _needed(manifest: Manifest, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The labels that the steps take to make what is `wanted`."""
    needed: tuple[str, ...] = ()
    if Step.VERTEBRAE in manifest.steps and not set(FAMILIES).isdisjoint(wanted):
        needed += SPINE_LABELS
    if Step.AERATED_LUNGS in manifest.steps and not set(LUNGS).isdisjoint(wanted):
        needed += (*LUNGS, *(name for name in NOT_LUNG if name in manifest.names))
    return needed


def _aerated(volume: Volume, drawn: dict[str, Drawn]) -> dict[str, Drawn]:
    """Both lungs, with what was left out of them."""
    left, right, *others = (
        CroppedMask(drawn[name].mask_zyx, drawn[name].offset_zyx) for name in (*LUNGS, *NOT_LUNG) if name in drawn
    )
    lungs = with_aerated(volume, (left, right), tuple(others))
    return {
        name: replace(drawn[name], mask_zyx=lung.mask_zyx, offset_zyx=lung.offset_zyx)
        for name, lung in zip(LUNGS, lungs, strict=True)
    }
