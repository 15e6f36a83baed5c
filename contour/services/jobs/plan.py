"""With what a series is to be drawn, pinned by checksums: whoever draws later draws with the same, or not at all."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from contour.core.errors import ConfigError
from contour.core.planning_system import GENERIC, LIMITS, HoleStyle, PlanningSystem
from contour.core.protocol import Protocol
from contour.core.volume import Modality
from contour.exports import Export
from contour.inference.package import ModelPackage
from contour.languages import Language
from contour.library import load_planning_system, load_protocol, locator_for, packages_for, protocol_file


@dataclass(frozen=True)
class Choice:
    """What a person chooses for many series at once; each field changes what is drawn or written.

    `protocol` and `system` are names or YAML files. Folders of a site's own are searched before what ships.
    """

    protocol: str
    locate: bool = True
    system: str = GENERIC.name
    holes: HoleStyle | None = None
    language: Language = Language.ENGLISH
    also: tuple[Export, ...] = ()
    protocols: tuple[Path, ...] = ()
    models: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Pin:
    """Something by name, as it was when its checksum was taken."""

    name: str
    sha256: str


@dataclass(frozen=True)
class DrawingPlan:
    """A choice with the checksums of all that it names: the protocol's file, the packages, the planning system.

    `locator` is the package that sees the whole image coarsely first; None where there is none, or it is not wanted.
    """

    choice: Choice
    modality: Modality
    protocol: Pin
    packages: tuple[Pin, ...]
    locator: Pin | None
    system: Pin

    @property
    def parts(self) -> tuple[str, ...]:
        """All that decides the result, as text; not where on this machine it lies."""
        pins = (self.protocol, self.system, *self.packages, *((self.locator,) if self.locator else ()))
        chosen = (self.choice.language, *sorted(self.choice.also))
        return (*(f"{pin.name} {pin.sha256}" for pin in pins), f"locate {self.locator is not None}", *chosen)


@dataclass(frozen=True)
class Means:
    """What a plan names, loaded: a protocol with its packages, the one that locates, and the planning system."""

    protocol: Protocol
    packages: tuple[ModelPackage, ...]
    locator: ModelPackage | None
    system: PlanningSystem
    plan: DrawingPlan = field(compare=False)


def plan_drawing(choice: Choice) -> DrawingPlan:
    """The plan of a choice, as everything that it names stands now.

    Raises:
        ConfigError: the protocol or the planning system is not there or has a mistake.
        PackageError: a package is missing or not whole.
    """
    return load_means(_absolute(choice)).plan


def load_means(choice: Choice) -> Means:
    """What a choice names, with the plan that pins it.

    Raises:
        ConfigError: as `plan_drawing`.
        PackageError: as `plan_drawing`.
    """
    file = protocol_file(choice.protocol, choice.protocols)
    before = _sha256(file)
    protocol = load_protocol(choice.protocol, choice.protocols)
    if _sha256(file) != before:
        raise ConfigError(str(file), "changes while it is read", "a file that stays as it is")
    packages = packages_for(protocol, choice.models)
    locator = locator_for(protocol, choice.models) if choice.locate else None
    system = load_planning_system(choice.system)
    if choice.holes is not None:
        system = replace(system, holes=choice.holes)
    plan = DrawingPlan(
        choice=choice,
        modality=protocol.modality,
        protocol=Pin(protocol.name, before),
        packages=tuple(_pinned(package) for package in packages),
        locator=_pinned(locator) if locator else None,
        system=Pin(system.name, _digest([f"{name} {getattr(system, name)}".encode() for name in LIMITS])),
    )
    return Means(protocol, packages, locator, system, plan)


def load_planned(plan: DrawingPlan) -> Means:
    """What `plan` names, if it is still the same.

    Raises:
        ConfigError: the protocol or the planning system is another by now.
        PackageError: a package is.
    """
    means = load_means(plan.choice)
    for now, then in zip(means.plan.parts, plan.parts, strict=False):
        if now != then:
            raise ConfigError(f"protocol {plan.protocol.name}", f"{now} now", f"{then}, as when it was submitted")
    if means.plan.parts != plan.parts:
        raise ConfigError(f"protocol {plan.protocol.name}", "other packages now", "those when it was submitted")
    return means


def _absolute(choice: Choice) -> Choice:
    """Workers run elsewhere than the person who chose."""
    return replace(
        choice,
        protocol=_absolute_file(choice.protocol),
        system=_absolute_file(choice.system),
        protocols=tuple(folder.absolute() for folder in choice.protocols),
        models=tuple(folder.absolute() for folder in choice.models),
    )


def _absolute_file(name_or_path: str) -> str:
    return str(Path(name_or_path).absolute()) if Path(name_or_path).suffix else name_or_path


def _pinned(package: ModelPackage) -> Pin:
    """The manifest states the sha256 of the network, which is verified when that is opened."""
    files = sorted(package.folder.glob("*.yaml"))
    return Pin(package.manifest.name, _digest([part for f in files for part in (f.name.encode(), f.read_bytes())]))


def _sha256(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(str(file), f"cannot be read ({error.strerror})", "a readable YAML file") from error


def _digest(parts: list[bytes]) -> str:
    """Of each part with its length, so that no two lists read alike."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
