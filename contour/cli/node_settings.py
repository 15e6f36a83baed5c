"""What the `contour node` commands share: the file with the settings, and what is said where the extra is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from contour.config import load_config
from contour.core.errors import ConfigError
from contour.services.node.settings import NodeSettings

NodeFile = Annotated[Path, typer.Argument(help="YAML file with the node's settings, as configs/node/example.yaml.")]


def load_node(file: Path) -> NodeSettings:
    """The settings in a file.

    Raises:
        ConfigError: it has a mistake.
    """
    return load_config(file, NodeSettings)


@contextmanager
def serving() -> Iterator[None]:
    """Around imports of what only the extra `serve` brings.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        found = f"{error.name} is not installed"
        raise ConfigError("contour node", found, "the extra `serve`: pip install 'contour[serve]'") from error
