"""An evaluation as it is kept: what was measured on each case, the summaries, and their files.

In JSON a distance that is infinite, since a structure was not found, stands as null where a number is due.
"""

import csv
import json
import os
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from math import isinf
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError

from contour.cases.score import CaseScore, Measure
from contour.cases.statistics import BootstrapOptions, Interval
from contour.cases.summary import StructureSummary
from contour.core.errors import ConfigError
from contour.core.report import PackageUse

EVALUATION_FILE = "evaluation.json"
SCORES_FILE = "scores.csv"
SUMMARY_FILE = "summary.csv"

T = TypeVar("T")


@dataclass(frozen=True)
class DrawnMask:
    """Where the stored mask of a drawn structure lies on the case's grid; a shape with a 0: nothing was drawn."""

    name: str
    start_zyx: tuple[int, int, int]
    shape_zyx: tuple[int, int, int]


@dataclass(frozen=True)
class CaseResult:
    """What came of one case; `content_sha256` is the case's own.

    `failure` says why nothing could be drawn: then every structure of the case counts as not found. `not_judged` are
    structures that people drew on it and the networks do not draw. `seen` says that a network states the case, or its
    patient, among those that it was trained or validated on. `peak_memory_mb` is the process's, up to this case.
    """

    case: str
    patient: str
    content_sha256: str
    failure: str | None
    scores: tuple[CaseScore, ...]
    drawn: tuple[DrawnMask, ...]
    not_judged: tuple[str, ...]
    draw_seconds: float
    judge_seconds: float
    seen: bool = False
    peak_memory_mb: float | None = None


@dataclass(frozen=True)
class SetAside:
    """A case that says nothing about these networks, and why."""

    case: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """How `packages`, under the rules of `protocol`, agree with what people drew on `cases`.

    `selection` says in words which cases these are. The first of `tolerances_mm` is the one of
    `CaseScore.agreement`.
    """

    contour_version: str
    protocol: str
    packages: tuple[PackageUse, ...]
    selection: str
    tolerances_mm: tuple[float, ...]
    bootstrap: BootstrapOptions
    structures: tuple[StructureSummary, ...]
    set_aside: tuple[SetAside, ...]
    cases: tuple[CaseResult, ...]

    @property
    def scores(self) -> tuple[CaseScore, ...]:
        """The scores of all cases, case by case."""
        return tuple(one for case in self.cases for one in case.scores)

    @property
    def patients(self) -> int:
        """Different patients among the cases."""
        return len({case.patient for case in self.cases})


def save_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `evaluation.json`, and `scores.csv` and `summary.csv` as tables of it; each whole or not at all.

    Raises:
        OSError: `folder` cannot be written to.
    """
    save_json(evaluation, folder / EVALUATION_FILE)
    _save_table(_score_rows(evaluation), folder / SCORES_FILE)
    _save_table(_summary_rows(evaluation), folder / SUMMARY_FILE)


def load_evaluation(path: Path) -> Evaluation:
    """The evaluation at `path`: the JSON file, or the folder that holds it.

    Raises:
        ConfigError: it cannot be read, or is no evaluation.
    """
    return load_json(path / EVALUATION_FILE if path.is_dir() else path, Evaluation)


def save_json(value: Any, path: Path) -> None:
    """Write the dataclass `value` as JSON that `load_json` reads, whole or not at all.

    Raises:
        OSError: the file cannot be written.
        ValueError: a number in it is none.
    """
    _write(path, json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def load_json(path: Path, kind: type[T]) -> T:
    """The JSON file at `path` as a `kind`, a dataclass.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read ({error.strerror})", "a readable JSON file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), f"is not JSON ({error})", "JSON in UTF-8") from error
    if not isinstance(content, dict):
        raise ConfigError(str(path), f"holds a {type(content).__name__}", f"a {kind.__name__}")
    try:
        return _converter().structure(content, kind)
    except (BaseValidationError, ValueError, TypeError, KeyError) as error:
        first = cattrs.transform_error(error)[0]
        raise ConfigError(str(path), first, f"the {kind.__name__} that this version of contour writes") from error


@cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(float, lambda value, _: float("inf") if value is None else float(value))
    converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))
    return converter


def _plain(value: Any) -> Any:
    """`value` as JSON knows it; infinity becomes null, which no number that is finite does."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and isinf(value) and value > 0:
        return None
    return value


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


# -- tables ----------------------------------------------------------------------------------------------------------


def _save_table(rows: list[dict[str, Any]], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    part.replace(path)


def _score_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for one in evaluation.scores:
        row: dict[str, Any] = {
            "case": one.case,
            "patient": one.patient,
            "structure": one.structure,
            "status": one.status.value,
            "outcome": one.outcome.value,
            "first_slice": one.slices[0] if one.slices else "",
            "last_slice": one.slices[1] if one.slices else "",
            "confidence": "" if one.confidence is None else round(one.confidence, 4),
        }
        if one.agreement is not None:
            row |= {name: _rounded(value) for name, value in asdict(one.agreement).items() if name not in _BY_TOLERANCE}
            for at in one.at_tolerances:
                row[f"surface_dice_{at.tolerance_mm:g}mm"] = _rounded(at.surface_dice)
                row[f"added_path_length_mm_{at.tolerance_mm:g}mm"] = _rounded(at.added_path_length_mm)
        rows.append(row)
    return rows


_BY_TOLERANCE = ("tolerance_mm", "surface_dice", "added_path_length_mm")


def _summary_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for line in evaluation.structures:
        for found in line.measures:
            tolerance = f"_{evaluation.tolerances_mm[0]:g}mm" if found.measure in _TOLERANT else ""
            rows.append(
                {
                    "structure": line.structure,
                    "measure": found.measure.value + tolerance,
                    "cases": line.cases,
                    "patients": line.patients,
                    "not_found": line.not_found,
                    "mean": _rounded(found.mean),
                    **_ends("mean", found.mean_interval),
                    "median": _rounded(found.median),
                    **_ends("median", found.median_interval),
                    "poor": _rounded(found.poor),
                    "worst": _rounded(found.worst),
                }
            )
    return rows


_TOLERANT = (Measure.SURFACE_DICE, Measure.ADDED_PATH_LENGTH_MM, Measure.ADDED_PATH_PART)


def _ends(name: str, ends: Interval | None) -> dict[str, Any]:
    low, high = ("", "") if ends is None else (_rounded(ends.low), _rounded(ends.high))
    return {f"{name}_low": low, f"{name}_high": high}


def _rounded(value: float) -> float:
    return round(value, 6)
