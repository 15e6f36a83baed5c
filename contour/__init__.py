"""Auto-contouring for stereotactic radiotherapy: a folder of images becomes a proven RTSTRUCT.

The names below are the Python interface; they come from `contour.api` when they are first asked for, so that
`import contour` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contour.api import (
        Agreement,
        ConfigError,
        ContourError,
        Drawing,
        Finding,
        Geometry,
        Given,
        ImageSeries,
        InputRefused,
        Modality,
        NotReleased,
        OpenProtocol,
        PackageError,
        Protocol,
        Run,
        RunOptions,
        RunReport,
        SessionOptions,
        Structure,
        StructureSet,
        Volume,
        WriteOptions,
        WrittenRtstruct,
        compare,
        from_nibabel,
        from_sitk,
        masks_of,
        open_protocol,
        read_report,
        read_rtstruct,
        read_series,
        structures_of,
        to_nibabel,
        to_sitk,
        write_rtstruct,
    )

__version__ = "0.1.0"
__all__ = [
    "Agreement",
    "ConfigError",
    "ContourError",
    "Drawing",
    "Finding",
    "Geometry",
    "Given",
    "ImageSeries",
    "InputRefused",
    "Modality",
    "NotReleased",
    "OpenProtocol",
    "PackageError",
    "Protocol",
    "Run",
    "RunOptions",
    "RunReport",
    "SessionOptions",
    "Structure",
    "StructureSet",
    "Volume",
    "WriteOptions",
    "WrittenRtstruct",
    "compare",
    "from_nibabel",
    "from_sitk",
    "masks_of",
    "open_protocol",
    "read_report",
    "read_rtstruct",
    "read_series",
    "structures_of",
    "to_nibabel",
    "to_sitk",
    "write_rtstruct",
]


def __getattr__(name: str) -> Any:
    """The name from `contour.api`, whose imports take a second."""
    if name not in __all__:
        raise AttributeError(f"module 'contour' has no attribute {name!r}")
    return getattr(import_module("contour.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
