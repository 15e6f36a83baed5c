"""Every error that `contour` raises on purpose.

::

    ContourError
    |-- InputRefused      an image or structure set that must not be contoured or trusted
    |-- ConfigError       a YAML file that a user can mend
    |-- PackageError      a model package that must not be opened
    |-- NotReleased       structures were drawn, but the written RTSTRUCT did not prove equal to them
    `-- StillIdentified   a de-identified file still tells who it is of

Each states where the fault lies, what was found, and what is allowed, so that a person can act on the message alone.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Stable codes for refused input: scripts and reports may rely on them."""

    NO_IMAGES = "no-images"
    SEVERAL_SERIES = "several-series"
    UNSUPPORTED_OBJECT = "unsupported-object"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported-transfer-syntax"
    UNSUPPORTED_PIXELS = "unsupported-pixels"
    UNREADABLE_FILE = "unreadable-file"
    TRUNCATED_FILE = "truncated-file"
    MISSING_ATTRIBUTE = "missing-attribute"
    INVALID_ATTRIBUTE = "invalid-attribute"
    INVALID_UID = "invalid-uid"
    NO_FRAME_OF_REFERENCE = "no-frame-of-reference"
    MIXED_SERIES = "mixed-series"
    MISSING_SLICE = "missing-slice"
    UNEVEN_SPACING = "uneven-spacing"
    DUPLICATE_POSITION = "duplicate-position"
    DUPLICATE_INSTANCE = "duplicate-instance"
    GANTRY_TILT = "gantry-tilt"
    INCONSISTENT_POSITIONS = "inconsistent-positions"
    UNKNOWN_SERIES = "unknown-series"
    TOO_FEW_SLICES = "too-few-slices"
    TOO_LARGE = "too-large"
    NO_STRUCTURES = "no-structures"
    SEVERAL_TARGETS = "several-targets"
    WRONG_SERIES = "wrong-series"
    CONTOUR_OFF_SLICE = "contour-off-slice"
    WRONG_MODALITY = "wrong-modality"
    WRONG_SITE = "wrong-site"
    WRONG_ORIENTATION = "wrong-orientation"
    IMPLAUSIBLE_IMAGE = "implausible-image"
    CHANGED_SERIES = "changed-series"


class ContourError(Exception):
    """Base of every error raised on purpose."""


class InputRefused(ContourError):
    """Input that is refused rather than guessed at.

    `where` names the file, series or position; `found` the offending value; `allowed` what would be accepted.
    """

    def __init__(self, reason: Reason, where: str, found: str, allowed: str) -> None:
        super().__init__(f"[{reason}] {where}: {found}; allowed: {allowed}")
        self.reason = reason
        self.where = where
        self.found = found
        self.allowed = allowed


class ConfigError(ContourError):
    """A configuration file with a mistake: `where` names the file and the key."""

    def __init__(self, where: str, found: str, allowed: str) -> None:
        super().__init__(f"{where}: {found}; allowed: {allowed}")
        self.where = where
        self.found = found
        self.allowed = allowed


class PackageError(ContourError):
    """A model package that is incomplete, altered or not usable here."""

    def __init__(self, where: str, found: str, allowed: str) -> None:
        super().__init__(f"{where}: {found}; allowed: {allowed}")
        self.where = where
        self.found = found
        self.allowed = allowed


class NotReleased(ContourError):
    """The written RTSTRUCT differs from the structures that were drawn; no file was released.

    `differences` has one sentence for each thing that differed.
    """

    def __init__(self, differences: tuple[str, ...]) -> None:
        super().__init__("not released: " + "; ".join(differences))
        self.differences = differences


class StillIdentified(ContourError):
    """A file that was written without the patient still tells who it is of: nothing was released."""
