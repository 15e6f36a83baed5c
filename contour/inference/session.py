"""An opened network: an engine on bytes whose checksum was verified first."""

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import PackageError
from contour.inference import onnx_runtime, openvino_runtime
from contour.inference.agreement import BFLOAT16, SINGLE, Disagreement, agrees, disagreement
from contour.inference.engine import Progress, Region
from contour.inference.onnx_runtime import OnnxRuntime
from contour.inference.openvino_runtime import OpenVino
from contour.inference.package import MAX_CHANNEL, Manifest, ModelPackage
from contour.inference.runtime import NetworkFile, Port, Runtime
from contour.inference.tiling import blended_planes

MAX_DEFAULT_THREADS = 16
LARGEST_LOGIT = 1e30  # blending adds up logits: far from the greatest number of single precision


class Engine(StrEnum):
    """What runs a network.

    `AUTO` takes CUDA where ONNX Runtime offers it and it starts, else OpenVINO where it is installed and has answered
    as ONNX Runtime does for this package on this machine, else ONNX Runtime on the processor. The others are taken by
    name alone: `OPENVINO_BF16` calculates with eight bits of precision, on processors that have it; `TENSORRT` builds
    its plans for minutes; `DIRECTML` is for Windows.
    """

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    DIRECTML = "directml"
    OPENVINO = "openvino"
    OPENVINO_BF16 = "openvino-bf16"


_PROVIDERS = {
    Engine.CPU: (onnx_runtime.CPU,),
    Engine.CUDA: (onnx_runtime.CUDA, onnx_runtime.CPU),
    Engine.TENSORRT: (onnx_runtime.TENSORRT, onnx_runtime.CUDA, onnx_runtime.CPU),
    Engine.DIRECTML: (onnx_runtime.DIRECTML, onnx_runtime.CPU),
}


@dataclass(frozen=True)
class SessionOptions:
    """How a network is opened.

    `threads` None means the processors this process may use, at most 16. With `spare_memory` no memory is kept between
    two patches, which costs about a quarter more time. No patch has more than `patch_voxels`.

    Raises:
        ValueError: fewer than one thread.
    """

    engine: Engine = Engine.AUTO
    threads: int | None = None
    spare_memory: bool = False
    patch_voxels: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads {self.threads}: at least 1")


class Network:
    """An opened network of a package; keep it loaded, opening costs more than a patch. Made by `open_network`."""

    def __init__(self, package: ModelPackage, runtime: Runtime, engine: Engine) -> None:
        self.package = package
        self.engine = engine
        self._runtime = runtime
        declared = runtime.outputs[0].shape[1]
        # An exporter may leave the number of channels open: then one patch tells.
        self.channels: int = declared if isinstance(declared, int) else self.run(self._padding_patch()).shape[1]
        if self.channels > MAX_CHANNEL + 1:
            found = f"{self.channels} channels"
            raise PackageError(str(package.onnx_path), found, f"at most {MAX_CHANNEL + 1}, the background included")

    @property
    def manifest(self) -> Manifest:
        """The package's manifest."""
        return self.package.manifest

    @property
    def origin(self) -> Path:
        """The package's folder."""
        return self.package.folder

    def planes(self, region: Region, progress: Progress) -> Iterator[NDArray[np.float32]]:
        """As `NetworkEngine.planes`: patches blended layer by layer, so that memory holds one layer of them."""
        return blended_planes(self.run, self.channels, region, progress)

    def run(self, images_nzyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, channels, z, y, x) of prepared patches (N, z, y, x).

        Raises:
            PackageError: the network fails on the patch, or answers with another shape or with what is no number. A
                class that is not a number wins nowhere: what it stands for would silently not be drawn.
        """
        where = str(self.package.onnx_path)
        logits = self._runtime.run(images_nzyx[:, None])
        expected = (images_nzyx.shape[0], *images_nzyx.shape[1:])
        if logits.ndim != 5 or (logits.shape[0], *logits.shape[2:]) != expected:
            found = f"answers {images_nzyx[:, None].shape} with {logits.shape}"
            raise PackageError(where, found, "logits (N, channels, z, y, x) on the grid of the input")
        if logits.shape[1] <= max(label.channel for label in self.manifest.labels):
            raise PackageError(where, f"has {logits.shape[1]} channels", "a channel for each label and the background")
        # Two passes that make no copy; both ends are nan where any value is.
        if not (float(logits.min()) > -LARGEST_LOGIT and float(logits.max()) < LARGEST_LOGIT):
            raise PackageError(where, "answers a patch with nan or infinity", "finite logits")
        return logits

    def _padding_patch(self) -> NDArray[np.float32]:
        shape = (1, *self.manifest.patch_shape_zyx)
        return np.full(shape, self.manifest.preprocessing.padding, dtype=np.float32)

    def check_runs(self) -> None:
        """Run one patch of padding.

        Raises:
            PackageError: the network fails, or answers with numbers that are not finite.
        """
        self.run(self._padding_patch())


def open_network(package: ModelPackage, options: SessionOptions = SessionOptions()) -> Network:
    """The network of `package`, ready to run.

    The file is read once; its sha256 is compared with the manifest's, and only those very bytes are handed to the
    engine, so that no file can be exchanged in between.

    Raises:
        PackageError: its patches are larger than `options` allow, the checksum differs, the network cannot be opened or
            does not fit its manifest, or the engine asked for is not available here, or does not answer as ONNX Runtime
            does.
    """
    package = _within(package, options.patch_voxels)
    network = NetworkFile(package.onnx_path, _verified_bytes(package))
    if options.engine is not Engine.AUTO:
        return _opened(package, network, options.engine, options)
    if onnx_runtime.CUDA in onnx_runtime.offered():
        runtime = _start(network, Engine.CUDA, options)
        if isinstance(runtime, OnnxRuntime) and runtime.provider == onnx_runtime.CUDA:
            return _checked(package, runtime, Engine.CUDA)
    if openvino_runtime.installed() and _agrees(package, network, Engine.OPENVINO, options):
        return _opened(package, network, Engine.OPENVINO, options)
    return _opened(package, network, Engine.CPU, options)


def verify_package(package: ModelPackage) -> None:
    """Check `package` to the end: checksum, network, interface, and one patch run through it on the CPU.

    Raises:
        PackageError: any of these fails.
    """
    open_network(package, SessionOptions(engine=Engine.CPU)).check_runs()


def _within(package: ModelPackage, patch_voxels: int | None) -> ModelPackage:
    """`package` with no larger patches than that."""
    smallest, largest = math.prod(package.manifest.patch_shape_zyx), package.manifest.largest_patch_voxels
    if patch_voxels is not None and smallest > patch_voxels:
        found = f"patches of {smallest} voxels at least"
        raise PackageError(str(package.folder), found, f"at most {patch_voxels}, for the memory that was allowed")
    if patch_voxels is None or largest is None or largest <= patch_voxels:
        return package
    return replace(package, manifest=replace(package.manifest, largest_patch_voxels=patch_voxels))


def _verified_bytes(package: ModelPackage) -> bytes:
    try:
        content = package.onnx_path.read_bytes()
    except OSError as error:
        raise PackageError(str(package.onnx_path), f"cannot be read ({error.strerror})", "a readable file") from error
    found = hashlib.sha256(content).hexdigest()
    if found != package.manifest.onnx_sha256:
        raise PackageError(
            str(package.onnx_path), f"sha256 {found}", f"sha256 {package.manifest.onnx_sha256}, as its manifest says"
        )
    return content


def available_engines() -> tuple[Engine, ...]:
    """The engines that are installed here; whether a GPU starts shows when a network is opened."""
    offered = onnx_runtime.offered()
    found = [engine for engine, providers in _PROVIDERS.items() if providers[0] in offered]
    if openvino_runtime.installed():
        found.append(Engine.OPENVINO)
        found += [Engine.OPENVINO_BF16] if openvino_runtime.has_bf16() else []
    return tuple(found)


def _opened(package: ModelPackage, network: NetworkFile, engine: Engine, options: SessionOptions) -> Network:
    """`package` in `engine` and no other."""
    if engine not in available_engines():
        raise _unavailable(package, engine)
    runtime = _start(network, engine, options)
    if isinstance(runtime, OnnxRuntime) and runtime.provider != _PROVIDERS[engine][0]:
        raise _unavailable(package, engine)
    if isinstance(runtime, OpenVino) and not _agrees(package, network, engine, options):
        found = f"{engine} answers otherwise than ONNX Runtime"
        raise PackageError(str(package.onnx_path), found, f"{Engine.CPU}, for this package on this machine")
    return _checked(package, runtime, engine)


def _unavailable(package: ModelPackage, engine: Engine) -> PackageError:
    here = ", ".join((Engine.AUTO, *available_engines()))
    return PackageError(str(package.onnx_path), f"engine {engine} does not start here", f"one of {here}")


def _start(network: NetworkFile, engine: Engine, options: SessionOptions) -> Runtime:
    threads = options.threads or _usable_processors()
    if engine in _PROVIDERS:
        return OnnxRuntime(network, _PROVIDERS[engine], threads, keep_memory=not options.spare_memory)
    return OpenVino(network, threads, bf16=engine is Engine.OPENVINO_BF16)


def _agrees(package: ModelPackage, network: NetworkFile, engine: Engine, options: SessionOptions) -> bool:
    """Whether OpenVINO answers as ONNX Runtime does, for this network on this machine."""

    def measure() -> Disagreement:
        reference = _checked(package, _start(network, Engine.CPU, options), Engine.CPU)
        try:
            tested = _checked(package, _start(network, engine, options), engine)
            return disagreement(package.manifest, reference.run, tested.run)
        except PackageError:  # what ONNX Runtime takes and OpenVINO does not
            return Disagreement(relative=math.inf, winners=1.0)

    limit = BFLOAT16 if engine is Engine.OPENVINO_BF16 else SINGLE
    return agrees(package.manifest.onnx_sha256, f"{engine} {openvino_runtime.version()}", limit, measure)


def _checked(package: ModelPackage, runtime: Runtime, engine: Engine) -> Network:
    _check_interface(package, runtime)
    return Network(package, runtime, engine)


def _check_interface(package: ModelPackage, runtime: Runtime) -> None:
    where, patch = str(package.onnx_path), package.manifest.patch_shape_zyx
    inputs, outputs = runtime.inputs, runtime.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        found = f"{len(inputs)} inputs and {len(outputs)} outputs"
        raise PackageError(where, found, "one input (N, 1, z, y, x) and one output (N, channels, z, y, x)")
    for port, expected in ((inputs[0], 1), (outputs[0], None)):
        if not port.single_precision or not _fits(port, (expected, *patch)):
            allowed = f"float32 (N, {expected or 'channels'}, {', '.join(map(str, patch))}), or free dimensions"
            raise PackageError(where, port.words, allowed)
    channels, highest = outputs[0].shape[1], max(label.channel for label in package.manifest.labels)
    if isinstance(channels, int) and channels <= highest:
        raise PackageError(where, f"{channels} channels", f"more than {highest}, the highest channel of a label")


def _fits(port: Port, wanted_czyx: tuple[int | None, ...]) -> bool:
    """Whether a declared shape (N, C, z, y, x) admits the wanted one."""
    if len(port.shape) != 5:
        return False
    pairs = zip(port.shape[1:], wanted_czyx, strict=True)
    return all(not isinstance(have, int) or want is None or have == want for have, want in pairs)


def _usable_processors() -> int:
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS do not tell
        usable = os.cpu_count() or 1
    return min(usable, MAX_DEFAULT_THREADS)
