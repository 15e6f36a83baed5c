"""Whether another engine answers as ONNX Runtime does: measured once for a package on a machine, then remembered."""

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from contour.inference.package import Manifest
from contour.inference.tiling import Run

PLACE = "CONTOUR_CACHE"

_COARSE = 8  # voxels: the probe's largest features


@dataclass(frozen=True)
class Disagreement:
    """How differently two engines answer one patch.

    `relative` is the largest difference of a logit in parts of the largest one, `winners` the part of the voxels in
    which another channel has the greatest.
    """

    relative: float
    winners: float

    def within(self, limit: "Disagreement") -> bool:
        """Whether neither is over its limit."""
        return self.relative <= limit.relative and self.winners <= limit.winners


# The packages that ship gave 2e-5 and no voxel in single precision, where sums are added in another order, and
# 6e-3 and 1e-3 in bfloat16. A kernel that is wrong is wrong by far more.
SINGLE = Disagreement(relative=2e-3, winners=5e-4)
BFLOAT16 = Disagreement(relative=1e-1, winners=2e-2)


def disagreement(manifest: Manifest, reference: Run, tested: Run) -> Disagreement:
    """How differently two engines answer a patch of noise at several scales, prepared as images are.

    Raises:
        PackageError: one of them fails.
    """
    probe = _probe(manifest.patch_shape_zyx)[None]
    ours, theirs = reference(probe)[0], tested(probe)[0]
    largest = float(np.abs(ours).max()) or 1.0
    other = ours.argmax(axis=0) != theirs.argmax(axis=0)
    return Disagreement(float(np.abs(ours - theirs).max()) / largest, float(other.mean()))


def agrees(sha256_hex: str, tested: str, limit: Disagreement, measure: Callable[[], Disagreement]) -> bool:
    """Whether the engine `tested` (with its version) is within `limit` for the network of this checksum, here.

    What was measured before, by the same version on the same processor, is not measured again. Where nothing can be
    written, it is measured every time.
    """
    path = _folder() / f"{_key(sha256_hex, tested)}.json"
    found = _remembered(path)
    if found is None:
        found = measure()
        _remember(path, found)
    return found.within(limit)


def _probe(shape_zyx: tuple[int, int, int]) -> NDArray[np.float32]:
    """(z, y, x): blocks of several sizes, within what prepared images hold."""
    random = np.random.default_rng(0)
    total = np.zeros(shape_zyx)
    size = _COARSE
    while size >= 1:
        blocks = random.uniform(-1, 1, size=[-(-n // size) for n in shape_zyx])
        for axis in range(3):
            blocks = np.repeat(blocks, size, axis=axis)
        total += blocks[tuple(slice(n) for n in shape_zyx)] * size / _COARSE
        size //= 2
    return total.astype(np.float32)


def _key(sha256_hex: str, tested: str) -> str:
    machine = (platform.machine(), platform.processor(), _processor(), str(psutil.cpu_count()))
    return sha256("\n".join((sha256_hex, tested, *machine)).encode()).hexdigest()[:32]


def _processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _folder() -> Path:
    """Where caches of this user lie, unless CONTOUR_CACHE says otherwise."""
    stated = os.environ.get(PLACE)
    if stated:
        return Path(stated) / "engines"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "contour" / "engines"


def _remembered(path: Path) -> Disagreement | None:
    try:
        return Disagreement(**{name: float(value) for name, value in json.loads(path.read_text()).items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None  # not there, or half of it: it is measured again


def _remember(path: Path, found: Disagreement) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as part:
            json.dump(asdict(found), part)
        Path(part.name).replace(path)
    except OSError:
        return  # a read-only home: it is measured the next time, too
