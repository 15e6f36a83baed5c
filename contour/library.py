"""What this installation offers by name: protocols, planning systems and model packages, and those of a site's own."""

from difflib import get_close_matches
from pathlib import Path

from contour.config import config_mistakes, load_config, shipped_folder
from contour.core.errors import ConfigError, PackageError
from contour.core.nomenclature import known_names, lookup, validate_names
from contour.core.planning_system import PlanningSystem
from contour.core.protocol import Protocol
from contour.inference.package import PACKAGE_NAME, ModelPackage, available_packages, load_package

LOCATOR = "locate_{}"  # packages that locate, by modality

DRAWN_BY_VALUE = ("Body", "External")  # drawn from the image's values where no package draws them
YAML_SUFFIXES = (".yaml", ".yml")


def protocol_files(folders: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """The protocol files in `folders` and in what ships, by name; a folder named first counts first."""
    found: dict[str, Path] = {}
    for folder in (*folders, shipped_folder("configs") / "protocols"):
        for path in sorted(p for p in folder.glob("*") if p.suffix in YAML_SUFFIXES):
            found.setdefault(path.stem, path)
    return tuple(found[name] for name in sorted(found))


def protocol_file(name_or_path: str, folders: tuple[Path, ...] = ()) -> Path:
    """The file of the protocol called so, or the YAML file of that path, be it there or not.

    Raises:
        ConfigError: no protocol has that name.
    """
    path = Path(name_or_path)
    if path.suffix in YAML_SUFFIXES:
        return path
    files = {file.stem: file for file in protocol_files(folders)}
    if name_or_path not in files:
        raise ConfigError(f"protocol {name_or_path}", "is not known", f"a YAML file, or one of {', '.join(files)}")
    return files[name_or_path]


def load_protocol(name_or_path: str, folders: tuple[Path, ...] = ()) -> Protocol:
    """The protocol called `name_or_path`, or the one in the YAML file of that path.

    Raises:
        ConfigError: there is none, the file has a mistake, or the structures' names cannot stand in an RTSTRUCT.
    """
    path = protocol_file(name_or_path, folders)
    protocol = load_config(path, Protocol)
    for problem in _name_mistakes(path, protocol):
        raise problem
    return protocol


def planning_system_files() -> tuple[Path, ...]:
    """The files of the planning systems that are known, by name."""
    return tuple(sorted((shipped_folder("configs") / "tps").glob("*.yaml")))


def load_planning_system(name_or_path: str) -> PlanningSystem:
    """The planning system called so, or the one in the YAML file of that path.

    Raises:
        ConfigError: there is none, or the file has a mistake.
    """
    path = Path(name_or_path)
    if path.suffix in YAML_SUFFIXES:
        return load_config(path, PlanningSystem)
    files = {file.stem: file for file in planning_system_files()}
    if name_or_path not in files:
        found, allowed = "is not known", f"a YAML file, or one of {', '.join(files)}"
        raise ConfigError(f"planning system {name_or_path}", found, allowed)
    return load_config(files[name_or_path], PlanningSystem)


def protocol_mistakes(
    path: Path, folders: tuple[Path, ...] = ()
) -> tuple[tuple[ConfigError | PackageError, ...], tuple[str, ...]]:
    """What keeps the protocol in the file at `path` from being used, all of it, and what its author may want to know.

    `folders` may hold packages of a site's own.
    """
    mistakes: list[ConfigError | PackageError] = list(config_mistakes(path, Protocol))
    if mistakes:
        return tuple(mistakes), ()
    protocol = load_config(path, Protocol)
    mistakes += _name_mistakes(path, protocol)
    offered: set[str] = set()
    second = protocol.second_image
    for name in (*protocol.packages, *(second.packages if second else ())):
        try:
            may_draw = set(find_package(name, folders).manifest.offered)
            offered |= may_draw if name in protocol.packages or second is None else may_draw & set(second.structures)
        except PackageError as error:
            mistakes.append(error)
    undrawn = [rule for rule in protocol.structures if rule.name not in offered and rule.name not in DRAWN_BY_VALUE]
    if len(offered) > 0:
        may = ", ".join(sorted(offered | set(DRAWN_BY_VALUE)))
        mistakes += [
            ConfigError(f"{path}: structures", f"no package draws {rule.name}, which is required", may)
            for rule in undrawn
            if rule.required
        ]
    notes = [f"{rule.name} is optional, and no package draws it." for rule in undrawn if not rule.required and offered]
    return tuple(mistakes), (*notes, *_name_notes(protocol))


def _name_mistakes(path: Path, protocol: Protocol) -> list[ConfigError]:
    """What is wrong with the names of a protocol's structures: they could not be written."""
    if not protocol.structures:
        return [ConfigError(f"{path}: structures", "is empty", "at least one structure")]
    names = [*(rule.name for rule in protocol.structures), *(rule.name for rule in protocol.derived)]
    return [ConfigError(f"{path}: structures", problem, "TG-263 names, each once") for problem in validate_names(names)]


def _name_notes(protocol: Protocol) -> list[str]:
    """Names that TG-263 does not explain, with the nearest that it does; helpers are never written."""
    written = [rule.name for rule in protocol.structures] + [rule.name for rule in protocol.derived if not rule.helper]
    notes = []
    for name in (name for name in written if lookup(name) is None):
        near = get_close_matches(name, known_names(), n=3)
        meant = f"; near: {', '.join(near)}" if near else ""
        notes.append(f"{name} is no name of TG-263 (it is written in white, without a code){meant}.")
    return notes


def packages_for(protocol: Protocol, folders: tuple[Path, ...] = ()) -> tuple[ModelPackage, ...]:
    """The packages that `protocol` names, in its order, from `folders` or from what ships.

    Only these packages are read, so that a damaged one beside them stops nothing.

    Raises:
        PackageError: one is missing or not whole.
    """
    return tuple(find_package(name, folders) for name in protocol.packages)


def packages_for_second(protocol: Protocol, folders: tuple[Path, ...] = ()) -> tuple[ModelPackage, ...]:
    """The packages that draw on the protocol's second image; none where it has none.

    Raises:
        PackageError: one is missing or not whole.
    """
    named = protocol.second_image.packages if protocol.second_image else ()
    return tuple(find_package(name, folders) for name in named)


def locator_for(protocol: Protocol, folders: tuple[Path, ...] = ()) -> ModelPackage | None:
    """The package that finds where in the body an image of the protocol's modality lies; None where there is none.

    Raises:
        PackageError: it is there, and not whole.
    """
    name = LOCATOR.format(protocol.modality.lower())
    installed = any((folder / name).is_dir() for folder in (*folders, shipped_folder("models")))
    return find_package(name, folders) if installed else None


def find_package(name: str, folders: tuple[Path, ...] = ()) -> ModelPackage:
    """The package called `name`, from the first of `folders` that has it, or from what ships.

    Raises:
        PackageError: it is missing or not whole, `name` is a path rather than a name, or the package calls itself
            something else: reports and structures would name another than the protocol asks for.
    """
    places = (*folders, shipped_folder("models"))
    for folder in places if PACKAGE_NAME.fullmatch(name) else ():
        if (folder / name).is_dir():
            package = load_package(folder / name)
            if package.manifest.name != name:
                raise PackageError(str(folder / name), f"calls itself {package.manifest.name}", f"the name {name}")
            return package
    raise PackageError(f"package {name}", "is not installed", f"a folder {name} in {', '.join(map(str, places))}")


def all_packages(folders: tuple[Path, ...] = ()) -> tuple[ModelPackage, ...]:
    """Every package of `folders` and of what ships, by name.

    Raises:
        PackageError: one is not whole.
    """
    return available_packages((*folders, shipped_folder("models")))
