"""An opened network: ONNX Runtime on bytes whose checksum was verified first."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contour.core.errors import PackageError
from contour.inference.engine import Progress, Region
from contour.inference.package import MAX_CHANNEL, Manifest, ModelPackage
from contour.inference.tiling import blended_planes

MAX_DEFAULT_THREADS = 16
LARGEST_LOGIT = 1e30  # blending adds up logits: far from the greatest number of single precision

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"


class Engine(StrEnum):
    """What runs a network. `AUTO` takes CUDA where ONNX Runtime offers it and it starts, else the CPU."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class SessionOptions:
    """How a network is opened.

    `threads` None means the processors this process may use, at most 16.

    Raises:
        ValueError: fewer than one thread.
    """

    engine: Engine = Engine.AUTO
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads {self.threads}: at least 1")


class Network:
    """An opened network of a package; keep it loaded, opening costs more than a patch. Made by `open_network`."""

    def __init__(self, package: ModelPackage, session: onnxruntime.InferenceSession, engine: Engine) -> None:
        self.package = package
        self.engine = engine
        self._session = session
        self._input = session.get_inputs()[0].name
        self._output = session.get_outputs()[0].name
        declared = session.get_outputs()[0].shape[1]
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
        try:
            (logits,) = self._session.run([self._output], {self._input: images_nzyx[:, None]})
        except _runtime_errors() as error:
            raise PackageError(where, f"fails on a patch: {_one_line(error)}", "a network that runs here") from error
        expected = (images_nzyx.shape[0], *images_nzyx.shape[1:])
        if logits.ndim != 5 or (logits.shape[0], *logits.shape[2:]) != expected:
            found = f"answers {images_nzyx[:, None].shape} with {logits.shape}"
            raise PackageError(where, found, "logits (N, channels, z, y, x) on the grid of the input")
        if logits.shape[1] <= max(label.channel for label in self.manifest.labels):
            raise PackageError(where, f"has {logits.shape[1]} channels", "a channel for each label and the background")
        # Two passes that make no copy; both ends are nan where any value is.
        if not (float(logits.min()) > -LARGEST_LOGIT and float(logits.max()) < LARGEST_LOGIT):
            raise PackageError(where, "answers a patch with nan or infinity", "finite logits")
        return np.asarray(logits, dtype=np.float32)

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

    The file is read once; its sha256 is compared with the manifest's, and only those very bytes are handed to ONNX
    Runtime, so that no file can be exchanged in between.

    Raises:
        PackageError: the checksum differs, the network cannot be opened or does not fit its manifest, or the engine
            asked for is not available here.
    """
    network_bytes = _verified_bytes(package)
    for engine in _engines(options.engine):
        session = _start(package, network_bytes, engine, options)
        if _provider(engine) in session.get_providers():
            _check_interface(package, session)
            return Network(package, session, engine)
    available = ", ".join(onnxruntime.get_available_providers())
    raise PackageError(str(package.onnx_path), f"engine {options.engine} does not start here", f"one of {available}")


def verify_package(package: ModelPackage) -> None:
    """Check `package` to the end: checksum, network, interface, and one patch run through it on the CPU.

    Raises:
        PackageError: any of these fails.
    """
    open_network(package, SessionOptions(engine=Engine.CPU)).check_runs()


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


def _engines(wanted: Engine) -> tuple[Engine, ...]:
    """The engines to try, best first."""
    offered = onnxruntime.get_available_providers()
    candidates = (Engine.CUDA, Engine.CPU) if wanted is Engine.AUTO else (wanted,)
    return tuple(engine for engine in candidates if _provider(engine) in offered)


def _provider(engine: Engine) -> str:
    return _CUDA if engine is Engine.CUDA else _CPU


def _start(
    package: ModelPackage, network_bytes: bytes, engine: Engine, options: SessionOptions
) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or _usable_processors()
    settings.inter_op_num_threads = 1
    # The arena saves a quarter of the time by keeping pages between runs; planning a whole run's memory beforehand
    # would nearly double what it keeps, and saves nothing.
    settings.enable_cpu_mem_arena = True
    settings.enable_mem_pattern = False
    settings.log_severity_level = 3  # errors only: they come back as exceptions
    # ONNX Runtime looks for weights that stand outside the network in the current folder, where nothing verified them.
    # Below a file there is nothing to be found.
    settings.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(package.onnx_path.resolve())
    )
    # Waiting threads must not spin: blending and other cases need the processors between two patches.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [_provider(engine)] if engine is Engine.CPU else [_CUDA, _CPU]
    try:
        return onnxruntime.InferenceSession(network_bytes, settings, providers=providers)
    except _runtime_errors() as error:
        where = str(package.onnx_path)
        raise PackageError(where, f"cannot be opened: {_one_line(error)}", "a self-contained ONNX network") from error


def _check_interface(package: ModelPackage, session: onnxruntime.InferenceSession) -> None:
    where, patch = str(package.onnx_path), package.manifest.patch_shape_zyx
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        found = f"{len(inputs)} inputs and {len(outputs)} outputs"
        raise PackageError(where, found, "one input (N, 1, z, y, x) and one output (N, channels, z, y, x)")
    for port, channels in ((inputs[0], 1), (outputs[0], None)):
        if port.type != "tensor(float)" or not _fits(port.shape, (channels, *patch)):
            allowed = f"float32 (N, {channels or 'channels'}, {', '.join(map(str, patch))}), or free dimensions"
            raise PackageError(where, f"{port.name} is {port.type} {port.shape}", allowed)
    channels, highest = outputs[0].shape[1], max(label.channel for label in package.manifest.labels)
    if isinstance(channels, int) and channels <= highest:
        raise PackageError(where, f"{channels} channels", f"more than {highest}, the highest channel of a label")


def _fits(declared: list[int | str | None], wanted_czyx: tuple[int | None, ...]) -> bool:
    """Whether a declared shape (N, C, z, y, x) admits the wanted one; names and None are free dimensions."""
    if len(declared) != 5:
        return False
    pairs = zip(declared[1:], wanted_czyx, strict=True)
    return all(not isinstance(have, int) or want is None or have == want for have, want in pairs)


def _usable_processors() -> int:
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # Windows and macOS do not tell
        usable = os.cpu_count() or 1
    return min(usable, MAX_DEFAULT_THREADS)


def _runtime_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its own exceptions derive from nothing better than Exception, and vary by version."""
    own = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    return (*(v for v in own if isinstance(v, type) and issubclass(v, Exception)), RuntimeError, ValueError)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
