"""What the labels of a data set mean: TG-263 names where an alias says exactly this, and the authors' own elsewhere."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from contour.cases.aliases import Aliases, How, load_aliases
from contour.config import load_config
from contour.core.errors import ConfigError
from contour.core.nomenclature import lookup, validate_name


@dataclass(frozen=True)
class NamesFile:
    """A YAML file of names: `names` maps labels as their authors call them to ours; null leaves a label out."""

    names: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class MappedName:
    """One label: `name` is what the package calls it, None if it is left out; `remark` says why, where it is not plain.

    `decided` says that a file gave the name, and not an alias.
    """

    label: str
    name: str | None
    remark: str = ""
    decided: bool = False

    @property
    def writable(self) -> bool:
        """Whether the name keeps to what planning systems take."""
        return self.name is not None and not validate_name(self.name)


def map_names(
    labels: Iterable[str], given: Path | None = None, ready: NamesFile | None = None
) -> tuple[MappedName, ...]:
    """What each label is called in a package: as the file `given` says, else `ready`, else by the aliases.

    Raises:
        ConfigError: the file has a mistake, names a label that is not there, or two labels get one name.
    """
    labels = tuple(labels)
    decided = dict(ready.names) if ready is not None else {}
    if given is not None:
        own = load_config(given, NamesFile).names
        unknown = sorted(own.keys() - set(labels))
        if unknown:
            raise ConfigError(f"{given}: names", f"labels {', '.join(unknown)}", ", ".join(labels))
        decided |= own
    aliases = load_aliases()
    found = tuple(_mapped(label, decided, aliases) for label in labels)
    return _each_once(found, str(given or "labels"))


def _mapped(label: str, decided: dict[str, str | None], aliases: Aliases) -> MappedName:
    if label in decided:
        name = decided[label]
        if name is None:
            return MappedName(label, None, "left out", decided=True)
        return MappedName(label, name, "" if lookup(name) else "no name of TG-263", decided=True)
    reading = aliases.read(label)
    if reading.how is How.EXACT and reading.name is not None:
        return MappedName(label, reading.name, reading.remark)
    meant = f"; may be {reading.name}: {reading.remark}" if reading.name else ""
    problems = "; ".join(validate_name(label))
    return MappedName(label, label, f"kept as it is{meant}" + (f"; {problems}" if problems else ""))


def _each_once(found: tuple[MappedName, ...], where: str) -> tuple[MappedName, ...]:
    """No name twice: labels that the aliases understand alike keep their own."""
    names = Counter(one.name.casefold() for one in found if one.name is not None)
    result = tuple(
        MappedName(one.label, one.label, f"kept as it is; others are {one.name} too")
        if one.name is not None and names[one.name.casefold()] > 1 and not one.decided
        else one
        for one in found
    )
    names = Counter(one.name.casefold() for one in result if one.name is not None)
    repeated = sorted(name for name, count in names.items() if count > 1)
    if repeated:
        raise ConfigError(f"{where}: names", f"{', '.join(repeated)} more than once", "each name once")
    return result
