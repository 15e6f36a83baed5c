"""OpenVINO on the processor, where it is installed: the same network in single precision or in bfloat16."""

import importlib.util
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contour.core.errors import PackageError
from contour.inference.runtime import NetworkFile, Port, one_line

if TYPE_CHECKING:
    from openvino import CompiledModel, Output, PartialShape

MOST_SHAPES = 2  # compiled networks that are kept: an image has one shape of patches, its likes have the same
BF16 = "BF16"


class OpenVino:
    """A network in OpenVINO, compiled for each shape of patches: networks of free shape take more time and memory."""

    def __init__(self, network: NetworkFile, threads: int, *, bf16: bool) -> None:
        """With `bf16` it calculates in bfloat16, eight bits of precision, where the processor has it.

        Raises:
            PackageError: OpenVINO cannot open the network.
        """
        import openvino  # noqa: PLC0415 - an extra, and a second to import

        self._where = str(network.path)
        self._core = openvino.Core()
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # the processors are shared
        }
        try:
            self._network = self._core.read_model(network.content)
        except (RuntimeError, ValueError) as error:
            found = f"cannot be opened by OpenVINO: {one_line(error)}"
            raise PackageError(self._where, found, "an ONNX network that OpenVINO reads, or --engine cpu") from error
        self._compiled: OrderedDict[tuple[int, ...], CompiledModel] = OrderedDict()
        self.inputs = tuple(_port(port) for port in self._network.inputs)
        self.outputs = tuple(_port(port) for port in self._network.outputs)

    def run(self, images_n1zyx: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `Runtime.run`."""
        try:
            compiled = self._for_shape(images_n1zyx.shape)
            answer: NDArray[np.float32] = compiled.create_infer_request().infer([images_n1zyx])[0]
        except (RuntimeError, ValueError) as error:
            found = f"fails on a patch in OpenVINO: {one_line(error)}"
            raise PackageError(self._where, found, "a network that runs here, or --engine cpu") from error
        return answer

    def _for_shape(self, shape: tuple[int, ...]) -> "CompiledModel":
        if shape not in self._compiled:
            self._network.reshape(list(shape))
            self._compiled[shape] = self._core.compile_model(self._network, "CPU", self._settings)
        self._compiled.move_to_end(shape)
        while len(self._compiled) > MOST_SHAPES:
            self._compiled.popitem(last=False)
        return self._compiled[shape]


def installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("openvino") is not None


def has_bf16() -> bool:
    """Whether this processor calculates in bfloat16 itself: elsewhere OpenVINO imitates it, or leaves it."""
    import openvino  # noqa: PLC0415 - as above

    return BF16 in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def version() -> str:
    """That of OpenVINO."""
    import openvino  # noqa: PLC0415 - as above

    return str(openvino.__version__)


def _port(port: "Output") -> Port:
    return Port(port.get_any_name(), port.get_element_type().to_string() == "f32", _shape(port.get_partial_shape()))


def _shape(shape: "PartialShape") -> tuple[int | str | None, ...]:
    return tuple(None if size.is_dynamic else size.get_length() for size in shape)
