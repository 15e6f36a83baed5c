"""The map from a hospital's ROI names to TG-263 names: proposed from aliases, checked by anatomy, decided by a person.

The map is a YAML file. The program fills in what an alias says exactly; what is merely likely stands in `proposal`
until a person writes it into `name`. Whatever a person changed stays as it is when names are proposed again.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from contour.cases.aliases import How, Reading, load_aliases
from contour.cases.archive_index import RoiCount, open_index
from contour.cases.name_evidence import Question, Verdict, examine
from contour.config import load_config, save_config
from contour.core.errors import ConfigError
from contour.core.nomenclature import known_names, lookup, validate_name

MAX_MAP_BYTES = 32 << 20  # some hundred thousand names

Progress = Callable[[str, float], None]

NOT_ORGANS = (How.TARGET, How.DERIVED, How.IGNORED)

HEADER = """\
What each ROI name of the archive means. Edit `name` (a TG-263 name, or null) and `ignore`; `contour data build` goes by
them.
`proposal` is what the program believes: it is used only where `how` is exact. To accept another, copy it into `name`.
What you change is kept when `contour data names` runs again (comments are not); delete an entry to have it
proposed anew."""


@dataclass(frozen=True)
class NameEntry:
    """What one ROI name means.

    `name` is the TG-263 name it is used under, None where it is not used; with `ignore` it is nothing to learn (couch,
    isocentre, target), and not merely unknown. `proposal` is what the program took it for, by `how`. `patients` and
    `sets` count where it has contours; `remarks` are the reasons, and what the anatomy says.
    """

    roi_name: str
    name: str | None = None
    ignore: bool = False
    how: How = How.UNMAPPED
    proposal: str | None = None
    patients: int = 0
    sets: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def edited(self) -> bool:
        """Whether a person decided otherwise than the program would."""
        decided = self.proposal if self.how is How.EXACT else None
        return self.how is How.EDITED or (self.name, self.ignore) != (decided, self.how in NOT_ORGANS)


@dataclass(frozen=True)
class NameMap:
    """The entries, the most frequent name first."""

    entries: tuple[NameEntry, ...]

    def entry(self, roi_name: str) -> NameEntry | None:
        """The entry of an ROI name, exactly as it is written, or None."""
        return self._by_name.get(roi_name)

    @cached_property
    def _by_name(self) -> dict[str, NameEntry]:
        return {entry.roi_name: entry for entry in self.entries}


@dataclass(frozen=True)
class NameOptions:
    """How names are proposed.

    `alias_files` count before those that ship. The structures of up to `samples` patients are measured for each name
    (0: none, no image is read), by `workers` processes (None: one a processor).
    """

    alias_files: tuple[Path, ...] = ()
    samples: int = 5
    workers: int | None = None


def propose_names(
    index: Path, options: NameOptions | None = None, earlier: NameMap | None = None, progress: Progress | None = None
) -> NameMap:
    """The names of the archive that was indexed in `index`, and what each is proposed to mean.

    What a person changed in `earlier` is kept. `progress` is told a stage and the part of it that is done.

    Raises:
        ConfigError: there is no finished index, or an alias file has a mistake.
        OSError: as `examine`.
    """
    options = options or NameOptions()
    aliases = load_aliases(options.alias_files)
    with open_index(index) as opened:
        found = [(count, aliases.read(count.name, count.interpreted_types)) for count in opened.roi_counts()]
        questions = tuple(_questions(found))
        verdicts: dict[str, list[Verdict]] = defaultdict(list)
        if options.samples and questions:
            for verdict in examine(
                opened.pairs(), questions, samples=options.samples, workers=options.workers, progress=progress
            ):
                verdicts[verdict.roi_name].append(verdict)
    entries = [_weighed(_entry(count, reading), reading, tuple(verdicts[count.name])) for count, reading in found]
    entries.sort(key=lambda entry: (-entry.patients, -entry.sets, entry.roi_name))
    proposed = NameMap(tuple(entries))
    return proposed if earlier is None else keep_edits(proposed, earlier)


def keep_edits(proposed: NameMap, earlier: NameMap) -> NameMap:
    """`proposed`, with what a person changed in `earlier`; changed entries of names that are gone stay at the end."""
    kept = []
    for entry in proposed.entries:
        before = earlier.entry(entry.roi_name)
        if before is not None and before.edited:
            entry = replace(entry, name=before.name, ignore=before.ignore, how=How.EDITED)  # noqa: PLW2901
        kept.append(entry)
    gone = (e for e in earlier.entries if e.edited and proposed.entry(e.roi_name) is None)
    kept += (replace(e, how=How.EDITED, patients=0, sets=0, remarks=("not in this archive",)) for e in gone)
    return NameMap(tuple(kept))


def load_name_map(path: Path) -> NameMap:
    """The map at `path`.

    Raises:
        ConfigError: the file has a mistake, a name stands twice, or something is mapped to what is no TG-263 name.
    """
    found = load_config(path, NameMap, max_bytes=MAX_MAP_BYTES)
    seen: set[str] = set()
    for entry in found.entries:
        if entry.roi_name in seen:
            raise ConfigError(f"{path}: {entry.roi_name!r}", "stands twice", "each ROI name once")
        seen.add(entry.roi_name)
        if entry.name is not None:
            _check_name(path, entry.roi_name, entry.name)
        if entry.name is not None and entry.ignore:
            raise ConfigError(f"{path}: {entry.roi_name!r}", f"has the name {entry.name} and ignore", "one of them")
    return found


def save_name_map(names: NameMap, path: Path) -> None:
    """Write the map as YAML that a person edits, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    save_config(names, path, HEADER)


def _check_name(path: Path, roi_name: str, name: str) -> None:
    problems = validate_name(name)
    if problems:
        raise ConfigError(f"{path}: {roi_name!r}", problems[0], "a TG-263 name")
    if lookup(name) is None:
        alike = next((known for known in known_names() if known.casefold() == name.casefold()), None)
        allowed = f"{alike}, as TG-263 writes it" if alike else "a TG-263 name that this program knows, or null"
        raise ConfigError(f"{path}: {roi_name!r}", f"is mapped to {name}, which is not known", allowed)


# -- what the anatomy says -------------------------------------------------------------------------------------------


def _questions(found: list[tuple[RoiCount, Reading]]) -> Iterator[Question]:
    for count, reading in found:
        names = (reading.name,) if reading.name is not None else reading.sides
        if names and count.drawn:
            yield Question(count.name, names)


def _weighed(entry: NameEntry, reading: Reading, verdicts: tuple[Verdict, ...]) -> NameEntry:
    """The entry with what was measured: a name that most of its structures contradict is not used."""
    if not verdicts:
        return entry
    if entry.proposal is None:
        return _by_place(entry, reading, verdicts)
    patients = {v.patient for v in verdicts}
    against = [v for v in verdicts if v.against]
    doubted = {v.patient for v in against}
    if not doubted:
        return replace(entry, remarks=(*entry.remarks, f"anatomy: fits in {len(patients)} of {len(patients)}"))
    example = against[0]
    instead = f" It would fit {example.other_side}." if example.other_side else ""
    remark = (
        f"anatomy: contradicted in {len(doubted)} of {len(patients)}, as of patient {example.patient}: "
        f"{' '.join(example.against)}{instead}"
    )
    entry = replace(entry, remarks=(*entry.remarks, remark))
    if 2 * len(doubted) <= len(patients):
        return entry
    if entry.how is How.EXACT:
        return replace(entry, name=None, how=How.CONTRADICTED)
    return replace(entry, how=How.UNMAPPED, proposal=None, remarks=(f"not {entry.proposal}", *entry.remarks))


def _by_place(entry: NameEntry, reading: Reading, verdicts: tuple[Verdict, ...]) -> NameEntry:
    """An organ with two sides whose name states none: the one it fits in every patient measured is proposed."""
    patients = len({v.patient for v in verdicts})
    fitting = [name for name in reading.sides if not any(v.against for v in verdicts if v.name == name)]
    if len(fitting) == 1 and any(v.against for v in verdicts):
        remark = f"anatomy: fits {fitting[0]} in {patients} of {patients}"
        return replace(entry, how=How.BY_PLACE, proposal=fitting[0], remarks=(*entry.remarks, remark))
    return replace(entry, remarks=(*entry.remarks, "anatomy: lies on different sides, or on none"))


def _entry(count: RoiCount, reading: Reading) -> NameEntry:
    remarks = [reading.remark] if reading.remark else []
    if not count.drawn:
        remarks.append("has no closed contour anywhere")
    return NameEntry(
        roi_name=count.name,
        name=reading.name if reading.how is How.EXACT else None,
        ignore=reading.how in NOT_ORGANS,
        how=reading.how,
        proposal=reading.name,
        patients=count.patients,
        sets=count.drawn,
        remarks=tuple(remarks),
    )
