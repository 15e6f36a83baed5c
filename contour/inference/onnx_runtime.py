"""ONNX Runtime: on the processor, and on what else its builds offer."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contour.core.errors import PackageError
from contour.inference.runtime import NetworkFile, Port, one_line

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
DIRECTML = "DmlExecutionProvider"


class OnnxRuntime:
    """A network in ONNX Runtime, on the first of `providers` that starts."""

    def __init__(self, network: NetworkFile, providers: tuple[str, ...], threads: int, *, keep_memory: bool) -> None:
        """`keep_memory` keeps the pages of a run for the next one: a quarter of the time for up to twice the memory.

        Raises:
            PackageError: the network cannot be opened.
        """
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        # Planning a whole run's memory beforehand would nearly double what the arena keeps, and saves nothing.
        settings.enable_cpu_mem_arena = keep_memory
        settings.enable_mem_pattern = False
        settings.log_severity_level = 3  # errors only: they come back as exceptions
        # ONNX Runtime looks for weights that stand outside the network in the current folder, where nothing verified
        # them. Below a file there is nothing to be found.
        settings.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(network.path.resolve())
        )
        # Waiting threads must not spin: blending and other cases need the processors between two patches.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._where = str(network.path)
        try:
            self._session = onnxruntime.InferenceSession(network.content, settings, providers=list(providers))
        except _errors() as error:
            found = f"cannot be opened: {one_line(error)}"
            raise PackageError(self._where, found, "a self-contained ONNX network") from error
        self.provider: str = self._session.get_providers()[0]
        self.inputs = tuple(_port(port) for port in self._session.get_inputs())
        self.outputs = tuple(_port(port) for port in self._session.get_outputs())

    def run(self, images_n1zyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Runtime.run`."""
        try:
            (answer,) = self._session.run([self.outputs[0].name], {self.inputs[0].name: images_n1zyx})
        except _errors() as error:
            found = f"fails on a patch: {one_line(error)}"
            raise PackageError(self._where, found, "a network that runs here") from error
        return np.asarray(answer, dtype=np.float32)


def offered() -> tuple[str, ...]:
    """The providers of the build that is installed."""
    return tuple(onnxruntime.get_available_providers())


def _port(port: onnxruntime.NodeArg) -> Port:
    return Port(port.name, port.type == "tensor(float)", tuple(port.shape))


def _errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: its own exceptions derive from nothing better than Exception, and vary by version."""
    own = vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    return (*(v for v in own if isinstance(v, type) and issubclass(v, Exception)), RuntimeError, ValueError)
