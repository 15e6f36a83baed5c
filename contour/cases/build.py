"""An indexed archive and a map of names -> a folder of cases: in parallel, resumable, every failure named.

Beside each case's record stands `findings.yaml`: what was found on building it, and a checksum of what it was built
from. A case whose inputs are the same is not built again; a killed run goes on where it was. `build.json` says what
became of every pair. One build at a time may write a folder.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import psutil

from contour.cases.archive_index import ArchiveIndex, IndexedPair, open_index
from contour.cases.assemble import CaseOptions, CaseToBuild, LeftOut, assemble_case
from contour.cases.names import NameMap, load_name_map
from contour.cases.overrides import EVERY_CASE
from contour.cases.store import RECORD_FILE, CaseRecord, Status, load_record, save_case
from contour.config import load_config, save_config
from contour.core.errors import ConfigError, ContourError, InputRefused
from contour.core.report import Finding

FINDINGS_FILE = "findings.yaml"
REPORT_FILE = "build.json"
STAGE = "build"
# Codes of what may pass: a drive that is not there today says nothing of the case that was built from it.
FILE, MEMORY, PROCESS_ENDED = "file", "memory", "process-ended"
# Counted up where the same input no longer gives the same case: all are built again.
RULES_VERSION = 3
WORKER_BYTES = 2 * 1024**3  # a large CT, its masks and what compresses them

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class BuildOptions:
    """`case` is what a person decides about every case; `workers` processes build (None: as many as fit)."""

    case: CaseOptions = field(default_factory=CaseOptions)
    workers: int | None = None


@dataclass(frozen=True)
class CaseFindings:
    """What building found in a case: `findings.yaml` beside its record. `unknown_names` are ROIs that the map lacks."""

    inputs_sha256: str = ""
    findings: tuple[Finding, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    unknown_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltStructure:
    """One structure of a case, without its mask."""

    name: str
    status: Status
    drawn_slices: tuple[int, int] | None
    volume_ml: float


@dataclass(frozen=True)
class BuiltCase:
    """What became of a pair: a case, built in this run or standing from an earlier one."""

    name: str
    patient: str
    built_now: bool
    structures: tuple[BuiltStructure, ...]
    found: CaseFindings


@dataclass(frozen=True)
class PairSetAside:
    """A pair that made no case, and why; `code` is stable. UIDs, not files: paths may hold the names of patients."""

    name: str
    patient: str
    series_instance_uid: str
    structure_set_uid: str
    code: str
    why: str


@dataclass(frozen=True)
class BuildReport:
    """What became of every pair.

    `removed` were cases of pairs that are refused now; `of_other_runs` are cases in the folder that belong to no pair
    of this index: they were left alone.
    """

    cases: tuple[BuiltCase, ...]
    set_aside: tuple[PairSetAside, ...]
    removed: tuple[str, ...]
    of_other_runs: tuple[str, ...]


def build_cases(
    index: Path, names: Path, cases: Path, options: BuildOptions | None = None, progress: Progress | None = None
) -> BuildReport:
    """Build a case in the folder `cases` from each pair of `index`, and write what became of them to `build.json`.

    The case of a pair that is refused now (its names are mapped otherwise, an override is wrong) is removed, so that
    nothing trains on it. `progress` is told the stage and the part that is done.

    Raises:
        ConfigError: the index, the map of names or the overrides have a mistake, or do not fit each other.
        OSError: the folder cannot be written.
    """
    options, tell = options or BuildOptions(), progress or _silent
    name_map = load_name_map(names)
    _check_names(name_map, options.case, str(names))
    cases.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(cases)
    built: list[BuiltCase] = []
    set_aside: list[PairSetAside] = []
    with open_index(index) as archive:
        _check_overrides(archive, options.case)
        total = max(1, archive.summary().pairs)
        tell(STAGE, 0.0)
        for outcome in _outcomes(_to_build(archive, name_map, options.case), cases, options.workers):
            if isinstance(outcome, BuiltCase):
                built.append(outcome)
            else:
                set_aside.append(outcome)
            tell(STAGE, (len(built) + len(set_aside)) / total)
    refused = sorted(item.name for item in set_aside if item.code not in (FILE, MEMORY, PROCESS_ENDED))
    removed = tuple(name for name in refused if _remove(cases / name))
    known = {case.name for case in built}
    others = tuple(sorted(p.parent.name for p in cases.glob(f"[!.]*/{RECORD_FILE}") if p.parent.name not in known))
    by_name = sorted(built, key=lambda case: case.name)
    report = BuildReport(tuple(by_name), tuple(sorted(set_aside, key=lambda item: item.name)), removed, others)
    _write_report(report, cases / REPORT_FILE)
    return report


def case_name(pair: IndexedPair) -> str:
    """The name of a pair's case: of patient and series, so that a newer structure set replaces the case."""
    return f"{pair.patient}-{hashlib.sha256(pair.series_instance_uid.encode()).hexdigest()[:6]}"


def load_findings(folder: Path) -> CaseFindings:
    """What building found in the case in `folder`; nothing for a case that was not built from an archive.

    Raises:
        ConfigError: the file is damaged.
    """
    path = folder / FINDINGS_FILE
    return load_config(path, CaseFindings) if path.is_file() else CaseFindings()


# -- before ------------------------------------------------------------------------------------------------------------


def _check_names(name_map: NameMap, options: CaseOptions, where: str) -> None:
    names = sorted({entry.name for entry in name_map.entries if entry.name is not None})
    renamed = {override.name for override in options.overrides.overrides if override.name is not None}
    for name in (*options.structures, *options.join):
        if name not in names and name not in renamed:
            raise ConfigError(where, f"no ROI is mapped to {name}", ", ".join(names) or "a map with names")


def _check_overrides(archive: ArchiveIndex, options: CaseOptions) -> None:
    """A misspelt case would be lost without a word."""
    stated = {override.case for override in options.overrides.overrides} - {EVERY_CASE}
    if stated:
        for name in sorted(stated - {case_name(pair) for pair in archive.pairs()}):
            raise ConfigError("overrides", f"case {name}", f'a case of this index, or "{EVERY_CASE}"')


def _to_build(archive: ArchiveIndex, name_map: NameMap, options: CaseOptions) -> Iterator[CaseToBuild]:
    for pair in archive.pairs():
        names, unknown = [], []
        for roi_name in sorted({roi.name for roi in pair.rois}):
            entry = name_map.entry(roi_name)
            if entry is None:
                unknown.append(roi_name)
            elif entry.name is not None:
                names.append((roi_name, entry.name))
        yield CaseToBuild(pair, case_name(pair), tuple(names), tuple(unknown), options)


def _inputs_sha256(case: CaseToBuild) -> str:
    """A checksum of what decides the case: files (by size and time, wherever they lie), names, options, rules."""
    pair, options = case.pair, case.options
    stats = [path.stat() for path in (pair.structure_set_file, *pair.image_files)]
    files = sorted((stat.st_size, stat.st_mtime_ns) for stat in stats)
    decided = (options.structures, options.join, options.fill_gaps_mm, options.overrides.about(case.name))
    uids = (pair.patient, pair.series_instance_uid, pair.structure_set_uid)
    text = repr((RULES_VERSION, uids, files, case.names, case.unknown_names, decided))
    return hashlib.sha256(text.encode()).hexdigest()


# -- in parallel -------------------------------------------------------------------------------------------------------


def _outcomes(wanted: Iterator[CaseToBuild], cases: Path, workers: int | None) -> Iterator[BuiltCase | PairSetAside]:
    """What becomes of each, as it comes. A process that the system ends (memory) costs its pair only."""
    workers = workers or fitting_workers()
    if workers == 1:
        yield from (_outcome(case, cases) for case in wanted)
        return
    waiting: dict[Future[BuiltCase | PairSetAside], CaseToBuild] = {}
    ended = False
    while not ended:
        pool = _pool(workers)
        try:
            while not ended:
                for case in islice(wanted, 2 * workers - len(waiting)):
                    waiting[pool.submit(_outcome, case, cases)] = case
                ended = not waiting
                for future in wait(waiting, return_when=FIRST_COMPLETED).done if waiting else ():
                    outcome = future.result()
                    del waiting[future]
                    yield outcome
        except BrokenProcessPool:
            suspects = list(waiting.values())
            waiting.clear()
            yield from (_alone(case, cases) for case in suspects)
        finally:
            pool.shutdown(cancel_futures=True)


def _alone(case: CaseToBuild, cases: Path) -> BuiltCase | PairSetAside:
    """One that was in work, or waited, as a process ended: in a process of its own, to see whether it was at fault."""
    pool = _pool(1)
    try:
        return pool.submit(_outcome, case, cases).result()
    except BrokenProcessPool:
        return _set_aside(case, PROCESS_ENDED, "the process was ended from outside, as when memory runs out")
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not forked: threads of libraries do not survive that.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def fitting_workers() -> int:
    """As many processes as there are processors, and as memory holds."""
    return max(1, min(os.cpu_count() or 1, int(psutil.virtual_memory().available) // WORKER_BYTES))


def _outcome(case: CaseToBuild, cases: Path) -> BuiltCase | PairSetAside:
    try:
        return _built(case, cases)
    except InputRefused as refused:
        return _set_aside(case, str(refused.reason), f"{refused.found}; allowed: {refused.allowed}")
    except ContourError as error:
        return _set_aside(case, "configuration", str(error))
    except OSError as error:
        return _set_aside(case, FILE, error.strerror or type(error).__name__)
    except MemoryError:
        return _set_aside(case, MEMORY, "it needs more memory than there is")


def _built(case: CaseToBuild, cases: Path) -> BuiltCase:
    folder = cases / case.name
    checksum = _inputs_sha256(case)  # before reading: what changes from now on is seen the next time
    standing = load_findings(folder)
    if standing.inputs_sha256 == checksum:
        return _built_case(load_record(folder), standing, built_now=False)
    assembled = assemble_case(case)
    record = save_case(assembled.case, cases)
    found = CaseFindings(checksum, assembled.findings, assembled.left_out, case.unknown_names)
    save_config(found, folder / FINDINGS_FILE)
    return _built_case(record, found, built_now=True)


def _built_case(record: CaseRecord, found: CaseFindings, *, built_now: bool) -> BuiltCase:
    structures = tuple(BuiltStructure(s.name, s.status, s.drawn_slices, s.volume_ml) for s in record.structures)
    return BuiltCase(record.name, record.patient, built_now, structures, found)


def _set_aside(case: CaseToBuild, code: str, why: str) -> PairSetAside:
    pair = case.pair
    return PairSetAside(case.name, pair.patient, pair.series_instance_uid, pair.structure_set_uid, code, why)


# -- the folder --------------------------------------------------------------------------------------------------------


def _remove_leftovers(cases: Path) -> None:
    """What a killed run left half-written."""
    for pattern in (".case-*.part", ".case-*.old"):
        for folder in cases.glob(pattern):
            shutil.rmtree(folder)


def _remove(folder: Path) -> bool:
    """Remove a case that was built here, at once and whole; one that was not is left alone."""
    if not (folder / FINDINGS_FILE).is_file():
        return False
    shutil.rmtree(folder.rename(folder.with_name(f".case-{folder.name}.old")))
    return True


def _write_report(report: BuildReport, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(asdict(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def _silent(_: str, __: float) -> None:
    """No one watches."""
