"""Networks judged on whole cases, through the very path that draws in the clinic.

Each case is drawn by `draw_structures`, its structures are scored against the drawn ones of the case, and the result is
written at once, so that an evaluation that was stopped goes on where it was::

    <output>/cases/<CASE>.json             what was measured; its presence says that the case is done
    <output>/drawn/<CASE>/<NAME>.nii.gz    what was drawn and judged, cropped to its box, in its place in any viewer
    <output>/evaluation.json               everything, and the summaries; scores.csv and summary.csv as tables
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from contour import __version__
from contour.cases.evaluation import (
    CaseResult,
    DrawnMask,
    Evaluation,
    SetAside,
    load_json,
    save_evaluation,
    save_json,
)
from contour.cases.score import CaseScore, score
from contour.cases.statistics import BootstrapOptions
from contour.cases.store import CaseRecord, load_image, load_record, load_structure
from contour.cases.summary import summarize
from contour.core.errors import ConfigError, InputRefused, PackageError, Reason
from contour.core.nomenclature import UNNAMED_COLOR_RGB, whole_name
from contour.core.protocol import Components, Protocol, ProtocolStructure
from contour.core.report import PackageUse
from contour.core.structures import InterpretedType, Structure
from contour.core.volume import Volume
from contour.imaging.nifti import read_nifti_array, write_nifti
from contour.inference.engine import NetworkEngine
from contour.inference.levels import members_of
from contour.inference.package import Manifest, Training
from contour.library import DRAWN_BY_VALUE
from contour.pipeline import draw_structures, peak_memory_mb

CASES_FOLDER = "cases"
DRAWN_FOLDER = "drawn"

Progress = Callable[[str, float], None]  # the case at hand, and the part of all that is done, 0 to 1


@dataclass(frozen=True)
class EvaluateOptions:
    """How networks are judged.

    Surface Dice and added path length are taken at each of `tolerances_mm`; the first is the main one. `structures`
    limits what is judged. `selection` says in words which cases these are. Results of another evaluation in the output
    folder are replaced only with `overwrite`. `locator` is as in `draw_structures`.

    Raises:
        ValueError: no tolerance, or one that stands twice or is no distance.
    """

    tolerances_mm: tuple[float, ...] = (3.0, 2.0, 1.0)
    structures: tuple[str, ...] | None = None
    selection: str = "all cases"
    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)
    overwrite: bool = False
    locator: NetworkEngine | None = None

    def __post_init__(self) -> None:
        wrong = [t for t in self.tolerances_mm if not (np.isfinite(t) and t >= 0)]
        if wrong or not self.tolerances_mm or len(set(self.tolerances_mm)) < len(self.tolerances_mm):
            raise ValueError(f"tolerances_mm {self.tolerances_mm}: one or more distances in mm, each once")


def evaluate(
    cases: Sequence[Path],
    protocol: Protocol,
    networks: tuple[NetworkEngine, ...],
    output: Path,
    *,
    options: EvaluateOptions = EvaluateOptions(),
    progress: Progress | None = None,
) -> Evaluation:
    """Draw the cases in the folders `cases`, score what was drawn, and write the results into `output`.

    Judged is what people drew on a case and the protocol's networks draw. Where networks or pipeline refuse a case,
    all of it counts as not found, with the reason; a second run tries it again. One case is in memory at a time. The
    result does not depend on how often the evaluation was stopped and taken up again, but for the seconds.

    Raises:
        ConfigError: a case's record is damaged or two have one name, nothing can be judged, the protocol requires what
            no network draws, or `output` holds results of another evaluation.
        InputRefused: a file of a case is missing or damaged.
        OSError: `output` cannot be written to.
    """
    tell = progress or _silent
    judge = _Judge(protocol, networks, output, options)
    chosen, set_aside = _chosen(_by_name(cases), judge)
    judge.refuse_other_results()
    results = []
    for place, (folder, record) in enumerate(chosen):
        part = _part_of(tell, record.name, (place, len(chosen)))
        part(0.0)
        results.append(judge.stored(record) or judge.judge(folder, record, part))
    tell("", 1.0)
    evaluation = Evaluation(
        contour_version=__version__,
        protocol=protocol.name,
        packages=tuple(_use(network) for network in networks),
        selection=options.selection,
        tolerances_mm=options.tolerances_mm,
        bootstrap=options.bootstrap,
        structures=summarize(_by_structure(results, judge.names), options.bootstrap),
        set_aside=set_aside,
        cases=tuple(results),
    )
    save_evaluation(evaluation, output)
    return evaluation


def package_protocol(manifests: Sequence[Manifest]) -> Protocol:
    """A protocol of all that packages draw, as their networks draw it: no rule removes or fills anything.

    Raises:
        ConfigError: the packages are for different modalities.
    """
    modalities = sorted({manifest.modality for manifest in manifests})
    if len(modalities) != 1:
        raise ConfigError("packages", f"modalities {', '.join(modalities) or 'none'}", "packages of one modality")
    names = dict.fromkeys(name for manifest in manifests for name in manifest.names)
    return Protocol(
        name="+".join(manifest.name for manifest in manifests),
        title="As the network draws, without the rules of a protocol",
        modality=modalities[0],
        packages=tuple(manifest.name for manifest in manifests),
        structures=tuple(ProtocolStructure(name, components=Components.ALL, fill_holes=False) for name in names),
    )


def drawn_structure(output: Path, record: CaseRecord, result: CaseResult, name: str) -> Structure:
    """What was drawn as `name` on the case `record`, from the files that `evaluate` left in `output`.

    Raises:
        InputRefused: the file is missing or damaged.
    """
    found = next((mask for mask in result.drawn if mask.name == name), None)
    if found is None or 0 in found.shape_zyx:
        return _nothing(name)
    path = output / DRAWN_FOLDER / record.name / f"{name}.nii.gz"
    values, _ = read_nifti_array(path, record.geometry.frame_of_reference_uid)
    if values.shape != found.shape_zyx:
        raise InputRefused(Reason.UNREADABLE_FILE, str(path), f"{values.shape} voxels", f"{found.shape_zyx}")
    return replace(_nothing(name), mask_zyx=values.astype(np.bool_), offset_zyx=found.start_zyx)


# -- cases -----------------------------------------------------------------------------------------------------------


class _Judge:
    """Everything that is the same for all cases."""

    def __init__(
        self, protocol: Protocol, networks: tuple[NetworkEngine, ...], output: Path, options: EvaluateOptions
    ) -> None:
        self._protocol = protocol
        self._networks = networks
        self._output = output
        self._options = options
        offered = {name for network in networks for name in network.manifest.offered} | set(DRAWN_BY_VALUE)
        wanted = options.structures
        drawable = (name for rule in protocol.structures if rule.name in offered for name in members_of(rule.name))
        self.names = tuple(name for name in drawable if wanted is None or name in wanted)
        if wanted is not None and set(wanted) - set(self.names):
            unknown = ", ".join(sorted(set(wanted) - set(self.names)))
            raise ConfigError(f"protocol {protocol.name}", f"does not draw {unknown}", ", ".join(self.names))
        # Whatever changes a drawing or its score; which cases these are does not.
        used = networks if options.locator is None else (*networks, options.locator)
        manifests = [(network.manifest, str(network.engine)) for network in used]
        setup = repr((__version__, protocol, manifests, self.names, options.tolerances_mm))
        self._setup_sha256 = hashlib.sha256(setup.encode()).hexdigest()

    def reason_against(self, record: CaseRecord) -> str:
        """Why the case says nothing about the networks; empty if it does."""
        if record.modality is not self._protocol.modality:
            return f"{record.modality}, and the protocol is for {self._protocol.modality}"
        if not self._judged(record):
            return f"drawn were {', '.join(record.drawn_names) or 'no structures'}: none that the networks draw"
        return ""

    def refuse_other_results(self) -> None:
        """Make way for the results, or refuse to mix them with others."""
        folder = self._output / CASES_FOLDER
        if self._output.exists() and not self._output.is_dir():
            raise ConfigError(str(self._output), "is a file", "a folder, which need not exist")
        for path in sorted(folder.glob("*.json")):
            if _setup_of(path) == self._setup_sha256:
                continue
            if not self._options.overwrite:
                found = f"{path.name} was measured with other networks, rules, tolerances or program"
                raise ConfigError(str(folder), found, "another output folder, or overwriting")
            path.unlink()
        folder.mkdir(parents=True, exist_ok=True)

    def stored(self, record: CaseRecord) -> CaseResult | None:
        """The result of an earlier run, unless the case has changed since, or failed."""
        path = self._path(record)
        if not path.is_file():
            return None
        stored = load_json(path, _Stored)
        current = stored.setup_sha256 == self._setup_sha256 and stored.result.content_sha256 == record.content_sha256
        return stored.result if current and stored.result.failure is None else None

    def judge(self, folder: Path, record: CaseRecord, progress: Callable[[float], None]) -> CaseResult:
        """Draw the case, score it, and keep both."""
        self._path(record).unlink(missing_ok=True)  # before the masks it speaks of are replaced
        names = self._judged(record)
        volume = load_image(folder, record)
        start = time.perf_counter()
        drawn, failure = self._drawn(volume, names, progress)
        drawn_at = time.perf_counter()
        scores = tuple(
            score(record, load_structure(folder, record, name), drawn[name], self._options.tolerances_mm)
            for name in names
        )
        judged_at = time.perf_counter()
        result = CaseResult(
            case=record.name,
            patient=record.patient,
            content_sha256=record.content_sha256,
            failure=failure,
            scores=scores,
            drawn=self._keep(record, drawn),
            not_judged=tuple(name for name in record.drawn_names if name not in names),
            draw_seconds=round(drawn_at - start, 3),
            judge_seconds=round(judged_at - drawn_at, 3),
            seen=any(_has_seen(network.manifest.training, record) for network in self._networks),
            peak_memory_mb=peak_memory_mb(),
        )
        save_json(_Stored(self._setup_sha256, result), self._path(record))
        return result

    def _judged(self, record: CaseRecord) -> tuple[str, ...]:
        return tuple(name for name in self.names if name in record.drawn_names)

    def _drawn(
        self, volume: Volume, names: tuple[str, ...], progress: Callable[[float], None]
    ) -> tuple[dict[str, Structure], str | None]:
        """What was drawn of `names`, and why nothing was if so."""
        nothing = {name: _nothing(name) for name in names}
        try:
            drawing = draw_structures(
                volume,
                self._protocol,
                self._networks,
                locator=self._options.locator,
                progress=lambda _, done: progress(done),
            )
        except (InputRefused, PackageError) as error:
            return nothing, str(error)
        # A part of an organ that the image cuts is judged as that organ: the case shows no more of it.
        drawn = {whole_name(s.name): replace(s, name=whole_name(s.name)) for s in drawing.structures.structures}
        return nothing | {name: s for name, s in drawn.items() if name in names}, None

    def _keep(self, record: CaseRecord, drawn: dict[str, Structure]) -> tuple[DrawnMask, ...]:
        folder = self._output / DRAWN_FOLDER / record.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        kept = []
        for structure in drawn.values():
            z, y, x = structure.mask_zyx.shape
            if structure.mask_zyx.size:
                geometry = record.geometry.cropped(structure.box)
                write_nifti(structure.mask_zyx, geometry, folder / f"{structure.name}.nii.gz")
            kept.append(DrawnMask(structure.name, structure.offset_zyx, (z, y, x)))
        return tuple(kept)

    def _path(self, record: CaseRecord) -> Path:
        return self._output / CASES_FOLDER / f"{record.name}.json"


@dataclass(frozen=True)
class _Stored:
    """The file of a case: `setup_sha256` says with what it was measured."""

    setup_sha256: str
    result: CaseResult


def _setup_of(path: Path) -> str:
    """What a case was measured with; nothing that is known, if an earlier version of the program wrote the file."""
    try:
        return load_json(path, _Stored).setup_sha256
    except ConfigError:
        return ""


def _has_seen(training: Training, record: CaseRecord) -> bool:
    return record.patient in training.patients or record.content_sha256 in training.cases_sha256


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in sorted(folders, key=lambda path: path.name):
        if folder.name in found:
            raise ConfigError(str(folder), f"a second case of that name, as {found[folder.name]}", "each name once")
        found[folder.name] = folder
    return found


def _chosen(folders: dict[str, Path], judge: _Judge) -> tuple[list[tuple[Path, CaseRecord]], tuple[SetAside, ...]]:
    chosen, set_aside = [], []
    for name, folder in folders.items():
        record = load_record(folder)
        reason = judge.reason_against(record)
        if record.name != name:
            raise ConfigError(str(folder), f"holds the case {record.name}", f"the case {name}")
        if reason:
            set_aside.append(SetAside(name, reason))
        else:
            chosen.append((folder, record))
    if not chosen:
        found = "; ".join(f"{one.case}: {one.reason}" for one in set_aside[:3]) or "none"
        raise ConfigError("cases", found, f"cases with any of {', '.join(judge.names)}")
    return chosen, tuple(set_aside)


def _by_structure(results: Iterable[CaseResult], names: tuple[str, ...]) -> list[CaseScore]:
    """All scores, in the order of the protocol's structures."""
    scores = [one for result in results for one in result.scores]
    return sorted(scores, key=lambda one: names.index(one.structure))


def _nothing(name: str) -> Structure:
    return Structure(name, UNNAMED_COLOR_RGB, InterpretedType.ORGAN, np.zeros((0, 0, 0), dtype=np.bool_), (0, 0, 0))


def _use(network: NetworkEngine) -> PackageUse:
    manifest = network.manifest
    return PackageUse(manifest.name, manifest.version, manifest.onnx_sha256, str(network.engine))


def _part_of(progress: Progress, case: str, place: tuple[int, int]) -> Callable[[float], None]:
    return lambda done: progress(case, (place[0] + done) / place[1])


def _silent(_: str, __: float) -> None:
    """No one listens."""
