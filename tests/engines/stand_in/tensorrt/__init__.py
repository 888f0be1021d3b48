"""A stand-in for NVIDIA's ``tensorrt``, for machines without a GPU: a network is ONNX, its types are checked, and ONNX Runtime runs it.

It knows the calls that streammat makes, and one rule of strongly typed networks: uint8 is for a border and a cast alone. It tells
nothing about speed, kernels, formats, memory or what TensorRT makes of a network.
"""

from __future__ import annotations

import ctypes
import enum
import json
import pickle
import threading
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime

__version__ = "11.0.0.114"


class DataType(enum.Enum):
    FLOAT = onnx.TensorProto.FLOAT
    HALF = onnx.TensorProto.FLOAT16
    UINT8 = onnx.TensorProto.UINT8
    INT32 = onnx.TensorProto.INT32
    INT64 = onnx.TensorProto.INT64
    BOOL = onnx.TensorProto.BOOL


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2

    def __init__(self, *_args: Any) -> None: ...


class IProgressMonitor:
    def __init__(self) -> None: ...


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = 1, 2


class LayerInformationFormat(enum.Enum):
    ONELINE, JSON = 0, 1


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY, NONE, DETAILED = 0, 1, 2


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class LayerType(enum.Enum):
    CONSTANT, OTHER = 0, 1


class HardwareCompatibilityLevel(enum.Enum):
    NONE, AMPERE_PLUS = 0, 1


class ITensor:
    def __init__(self, name: str, dtype: DataType) -> None:
        self.name, self.dtype = name, dtype


class ILayer:
    def __init__(self, node: Any, kinds: dict[str, DataType]) -> None:
        self.name, self.kind = node.name, node.op_type
        self.type = LayerType.CONSTANT if self.kind == "Constant" else LayerType.OTHER
        self.inputs = [ITensor(name, kinds[name]) for name in node.input if name in kinds]
        self.outputs = [ITensor(name, kinds[name]) for name in node.output if name in kinds]

    num_outputs = property(lambda self: len(self.outputs))

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


class INetworkDefinition:
    def __init__(self) -> None:
        self.content = b""
        self.layers: list[ILayer] = []

    num_layers = property(lambda self: len(self.layers))

    def get_layer(self, index: int) -> ILayer:
        return self.layers[index]


def layers_of(content: bytes) -> list[ILayer]:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph
    ports = [*graph.input, *graph.output, *graph.value_info]
    kinds = {port.name: DataType(port.type.tensor_type.elem_type) for port in ports}
    kinds |= {one.name: DataType(one.data_type) for one in graph.initializer}
    return [ILayer(node, kinds) for node in graph.node]


class ParserError:
    def __init__(self, text: str) -> None:
        self.text = text

    def desc(self) -> str:
        return self.text


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network, self.errors = network, []

    num_errors = property(lambda self: len(self.errors))

    def get_error(self, index: int) -> ParserError:
        return self.errors[index]

    def parse(self, content: bytes) -> Any:
        self.network.content, self.network.layers = content, layers_of(content)
        wrong = [layer.name for layer in self.network.layers if layer.kind != "Cast" and DataType.UINT8 in {one.dtype for one in layer.inputs}]
        self.errors = [ParserError(f"{name}: uint8 is for a border and a cast alone") for name in wrong]
        return not wrong


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor: Any = None
        self.limits: dict[str, int] = {}

    def set_memory_pool_limit(self, pool: Any, limit: int) -> None:
        self.limits[pool.name] = limit

    def create_timing_cache(self, content: bytes) -> TimingCache:
        return TimingCache(content)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: Any) -> Any:
        self._timings = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        return self._timings


class TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"timed "


class Builder:
    configs: ClassVar[list[IBuilderConfig]] = []
    fault: ClassVar[str] = ""
    """What the next build fails with."""

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        Builder.configs.append(IBuilderConfig())
        return Builder.configs[-1]

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        if Builder.fault:
            self.logger.log(ILogger.Severity.ERROR, Builder.fault)
            return None
        going = [True]

        def work() -> None:  # TensorRT reports from threads of its own
            monitor = config.progress_monitor
            if monitor is not None:
                monitor.phase_start("Building Engine", None, len(network.layers))
                for step in range(len(network.layers)):
                    if not monitor.step_complete("Building Engine", step):
                        going[0] = False
                        break
                monitor.phase_finish("Building Engine")

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        return pickle.dumps((network.content, config.profiling_verbosity)) if going[0] else None


class ICudaEngine:
    def __init__(self, content: bytes, verbosity: ProfilingVerbosity) -> None:
        self.content, self.verbosity = content, verbosity
        graph = onnx.load_from_string(content).graph
        self.given, self.made = ([port.name for port in ports] for ports in (graph.input, graph.output))
        self.ports = {port.name: port.type.tensor_type for port in (*graph.input, *graph.output)}

    num_io_tensors = property(lambda self: len(self.ports))

    def get_tensor_name(self, index: int) -> str:
        return list(self.ports)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.given else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self.ports[name].elem_type)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side.dim_value for side in self.ports[name].shape.dim)

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002
        layers = layers_of(self.engine.content)
        if self.engine.verbosity is not ProfilingVerbosity.DETAILED:
            return json.dumps({"Layers": [layer.name for layer in layers]})

        def ports(tensors: list[ITensor]) -> list[dict[str, Any]]:
            words = {DataType.FLOAT: "Float", DataType.HALF: "Half"}
            return [{"Name": one.name, "Format": "Row major linear", "Datatype": words.get(one.dtype, one.dtype.name)} for one in tensors]

        return json.dumps({"Layers": [
            {"Name": layer.name, "LayerType": "kgen", "ParameterType": layer.kind.replace("Conv", "Convolution"), "Inputs": ports(layer.inputs), "Outputs": ports(layer.outputs)}
            for layer in layers
        ]})


class IExecutionContext:
    captured: ClassVar[list[Any] | None] = None
    """Where a graph is being captured: what it keeps."""

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(engine.content, options, providers=["CPUExecutionProvider"])

    def set_tensor_address(self, name: str, memory: int) -> Any:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> Any:
        if self.captured is None:
            self._work()
        else:
            self.captured.append(self._work)
        return True

    def _work(self) -> None:
        found = self.session.run(self.engine.made, {name: self._memory(name) for name in self.engine.given})
        for name, value in zip(self.engine.made, found, strict=True):
            self._memory(name)[...] = value

    def _memory(self, name: str) -> Any:
        shape = self.engine.get_tensor_shape(name)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(self.engine.get_tensor_dtype(name).value)
        content = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(self.addresses[name])
        return np.frombuffer(content, dtype).reshape(shape)


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> ICudaEngine | None:
        try:
            return ICudaEngine(*pickle.loads(content))
        except Exception:
            self.logger.log(ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magic tag does not match)")
            return None
