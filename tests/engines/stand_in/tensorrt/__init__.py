"""A stand-in for NVIDIA's ``tensorrt``, for machines without a GPU: networks are recorded, their types checked, and run by torch.

It knows the layers that torch-tensorrt makes of our networks, and the rules of strongly typed networks that can be broken by a
network: operands have one type, and uint8 is for a border and a cast alone. It tells nothing about speed, kernels, formats,
memory or what TensorRT makes of a network.
"""

from __future__ import annotations

import ctypes
import enum
import json
import pickle
import threading
from typing import Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812

__version__ = "11.0.0.114"


class DataType(enum.Enum):
    FLOAT = torch.float32
    HALF = torch.float16
    BF16 = torch.bfloat16
    INT8 = torch.int8
    UINT8 = torch.uint8
    INT32 = torch.int32
    INT64 = torch.int64
    BOOL = torch.bool
    FP8 = torch.float8_e4m3fn
    FP4 = "fp4"


float32, float16, bfloat16, int8, uint8, int32, int64, bool = (  # noqa: A001
    DataType.FLOAT, DataType.HALF, DataType.BF16, DataType.INT8, DataType.UINT8, DataType.INT32, DataType.INT64, DataType.BOOL,
)
fp8, fp4 = DataType.FP8, DataType.FP4
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class NetworkError(Exception):
    """What TensorRT would refuse."""


class _Anything(type):
    """A class with any member that is asked for: what is imported and never used here."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        member = cls()
        member.name = name
        setattr(cls, name, member)
        return member


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name == "tensorrt_rtx":
        raise AttributeError(name)
    if name == "tensorrt":
        import sys

        return sys.modules[__name__]
    made = _Anything(name, (), {"__module__": __name__})
    globals()[name] = made
    return made


def init_libnvinfer_plugins(_logger: Any, _namespace: str) -> Any:
    return True


class Dims(tuple):
    __slots__ = ()


class Permutation(tuple):
    __slots__ = ()


class Weights:
    """``Weights(dtype, pointer, count)``: the memory is the caller's until it is copied."""

    def __init__(self, dtype: DataType | None = None, pointer: int = 0, count: int = 0) -> None:
        self.size = count
        self.value = None if dtype is None or not count else _from_address(pointer, dtype.value, (count,)).clone()


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self, *_args: Any) -> None:
        self.min_severity = ILogger.Severity.WARNING


class Logger(ILogger):
    def log(self, severity: Any, msg: str) -> None:
        pass


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class LayerType(enum.Enum):
    CONVOLUTION, DECONVOLUTION, CAST, ACTIVATION, ELEMENTWISE, CONCATENATION, RESIZE, REDUCE, SOFTMAX, TOPK, SLICE, CONSTANT, SCALE, UNARY, POOLING, MATRIX_MULTIPLY, SHUFFLE, IDENTITY, SELECT, INPUT, UNSQUEEZE, GATHER = range(22)  # fmt: skip


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class LayerInformationFormat(enum.Enum):
    ONELINE, JSON = range(2)


class ProfilingVerbosity(enum.Enum):
    LAYER_NAMES_ONLY, NONE, DETAILED = range(3)


class ActivationType(enum.Enum):
    RELU, SIGMOID, TANH, CLIP, LEAKY_RELU, ELU, SELU, SOFTSIGN, SOFTPLUS, HARD_SIGMOID, SCALED_TANH, THRESHOLDED_RELU, GELU_ERF, GELU_TANH = range(14)


class ElementWiseOperation(enum.Enum):
    SUM, PROD, MAX, MIN, SUB, DIV, POW, FLOOR_DIV, AND, OR, XOR, EQUAL, GREATER, LESS = range(14)


class ReduceOperation(enum.Enum):
    SUM, PROD, MAX, MIN, AVG, NONE = range(6)


class InterpolationMode(enum.Enum):
    NEAREST, LINEAR, CUBIC = range(3)


class ResizeCoordinateTransformation(enum.Enum):
    ALIGN_CORNERS, ASYMMETRIC, HALF_PIXEL = range(3)


class PoolingType(enum.Enum):
    MAX, AVERAGE, MAX_AVERAGE_BLEND = range(3)


class MatrixOperation(enum.Enum):
    NONE, TRANSPOSE, VECTOR = range(3)


class TopKOperation(enum.Enum):
    MAX, MIN = range(2)


class UnaryOperation(enum.Enum):
    EXP, LOG, SQRT, RECIP, ABS, NEG, SIN, COS, TAN, SINH, COSH, ASIN, ACOS, ATAN, ASINH, ACOSH, ATANH, CEIL, FLOOR, ERF, NOT, SIGN, ROUND, ISINF, ISNAN = range(25)


class ScaleMode(enum.Enum):
    UNIFORM, CHANNEL, ELEMENTWISE = range(3)


class ITensor:
    def __init__(self, layer: ILayer, index: int) -> None:
        self.layer, self.index, self.name = layer, index, f"({layer.name}) [output {index}]"

    @property
    def shape(self) -> Dims:
        return Dims(self.layer.known()[self.index].shape)

    @property
    def dtype(self) -> DataType:
        return DataType(self.layer.known()[self.index].dtype)


class ILayer:
    """One layer; what its outputs are is worked out on torch's meta device when it is asked for."""

    outputs: ClassVar[int] = 1

    def __init__(self, network: INetworkDefinition, inputs: list[ITensor], **settings: Any) -> None:
        self.name, self.metadata = f"(Unnamed Layer* {len(network.layers)}) [{type(self).__name__}]", ""
        self.inputs = list(inputs)
        self._known: list[torch.Tensor] | None = None
        for key, value in settings.items():
            setattr(self, key, value)
        self.made = [ITensor(self, index) for index in range(self.outputs)]
        network.layers.append(self)

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)
        if not key.startswith("_"):
            object.__setattr__(self, "_known", None)

    num_inputs = property(lambda self: len(self.inputs))
    num_outputs = property(lambda self: len(self.made))

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.made[index]

    def set_input(self, index: int, tensor: ITensor) -> None:
        self.inputs = [*self.inputs[:index], tensor, *self.inputs[index + 1 :]]

    def known(self) -> list[torch.Tensor]:
        if self._known is None:
            given = [tensor.layer.known()[tensor.index] for tensor in self.inputs]
            if any(value.dtype == torch.uint8 for value in given) and not isinstance(self, Cast):
                raise NetworkError(f"{self.name}: uint8 is for borders and casts alone")
            made = self.run(*given)
            self._known = list(made) if isinstance(made, tuple) else [made]
        return self._known

    def run(self, *given: torch.Tensor) -> Any:
        raise NotImplementedError

    def one_type(self, *given: torch.Tensor) -> None:
        if len({value.dtype for value in given}) != 1:
            raise NetworkError(f"{self.name}: operands of {[value.dtype for value in given]}; a strongly typed network takes one type")


class Input(ILayer):
    type = LayerType.INPUT

    def run(self) -> torch.Tensor:
        return torch.empty(self.shape, dtype=self.dtype.value, device="meta")


class Cast(ILayer):
    type = LayerType.CAST

    def run(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.uint8 and self.to_type.value not in (torch.float32, torch.float16):
            raise NetworkError(f"{self.name}: uint8 is cast to {self.to_type}; TensorRT knows float and half")
        return x.to(self.to_type.value)


class Constant(ILayer):
    type = LayerType.CONSTANT

    def run(self) -> torch.Tensor:
        return self.value.to("meta")


class Convolution(ILayer):
    type = LayerType.CONVOLUTION
    stride_nd, padding_nd, dilation_nd, num_groups = (1, 1), (0, 0), (1, 1), 1

    def run(self, x: torch.Tensor, kernel: torch.Tensor | None = None, bias: torch.Tensor | None = None) -> torch.Tensor:
        if kernel is None:
            kernel = self.kernel.value.view(self.num_output_maps, -1, *self.kernel_shape).to(x.device)
        if bias is None and self.bias is not None and self.bias.value is not None:
            bias = self.bias.value.to(x.device)
        self.one_type(x, kernel, *([] if bias is None else [bias]))
        return F.conv2d(x, kernel, bias, tuple(self.stride_nd), tuple(self.padding_nd), tuple(self.dilation_nd), self.num_groups)


class Activation(ILayer):
    type = LayerType.ACTIVATION
    alpha = beta = 0.0

    def run(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype not in _FLOATS:
            raise NetworkError(f"{self.name}: an activation of {x.dtype}")
        if self.kind is ActivationType.CLIP:
            return x.clamp(self.alpha, self.beta)
        return {ActivationType.RELU: torch.relu, ActivationType.SIGMOID: torch.sigmoid}[self.kind](x)


_BINARY = {
    ElementWiseOperation.SUM: torch.add, ElementWiseOperation.PROD: torch.mul, ElementWiseOperation.MAX: torch.maximum,
    ElementWiseOperation.MIN: torch.minimum, ElementWiseOperation.SUB: torch.sub, ElementWiseOperation.DIV: torch.div,
    ElementWiseOperation.POW: torch.pow, ElementWiseOperation.EQUAL: torch.eq, ElementWiseOperation.GREATER: torch.gt,
    ElementWiseOperation.LESS: torch.lt, ElementWiseOperation.AND: torch.logical_and, ElementWiseOperation.OR: torch.logical_or,
}


class ElementWise(ILayer):
    type = LayerType.ELEMENTWISE

    def run(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.one_type(x, y)
        if x.ndim != y.ndim:
            raise NetworkError(f"{self.name}: operands of {x.ndim} and {y.ndim} dimensions")
        return _BINARY[self.op](x, y)


class Concatenation(ILayer):
    type = LayerType.CONCATENATION
    axis = 1

    def run(self, *given: torch.Tensor) -> torch.Tensor:
        self.one_type(*given)
        return torch.cat(given, dim=self.axis)


class Resize(ILayer):
    type = LayerType.RESIZE
    scales = shape = None
    resize_mode = InterpolationMode.NEAREST
    coordinate_transformation = ResizeCoordinateTransformation.ASYMMETRIC

    def run(self, x: torch.Tensor) -> torch.Tensor:
        size = tuple(self.shape) if self.shape is not None else tuple(int(side * scale) for side, scale in zip(x.shape, self.scales, strict=True))
        if size[:2] != tuple(x.shape[:2]) or self.resize_mode is not InterpolationMode.LINEAR:
            raise NetworkError(f"{self.name}: resized to {size} with {self.resize_mode}, which this stand-in does not know")
        corners = self.coordinate_transformation is ResizeCoordinateTransformation.ALIGN_CORNERS
        return F.interpolate(x, size=size[2:], mode="bilinear", align_corners=corners)


class Reduce(ILayer):
    type = LayerType.REDUCE

    def run(self, x: torch.Tensor) -> torch.Tensor:
        axes = [axis for axis in range(x.ndim) if self.axes >> axis & 1]
        work = {ReduceOperation.AVG: torch.mean, ReduceOperation.SUM: torch.sum, ReduceOperation.MAX: torch.amax}[self.op]
        return work(x, dim=axes, keepdim=self.keep_dims)


class SoftMax(ILayer):
    type = LayerType.SOFTMAX
    axes = 1

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x, dim=self.axes.bit_length() - 1)


class TopK(ILayer):
    type = LayerType.TOPK
    outputs = 2

    def run(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, places = torch.topk(x, self.k, dim=self.axes.bit_length() - 1, largest=self.op is TopKOperation.MAX)
        return values, places.to(torch.int32)


class Slice(ILayer):
    type = LayerType.SLICE
    mode = None

    def run(self, x: torch.Tensor) -> torch.Tensor:
        for axis, (start, size, stride) in enumerate(zip(self.start, self.size, self.stride, strict=True)):
            if x.shape[axis] == 1 and size > 1 and stride == 0:
                x = x.expand(*(size if axis == index else -1 for index in range(x.ndim)))
            else:
                x = x.index_select(axis, torch.arange(start, start + size * stride, stride, device=x.device))
        return x


class Scale(ILayer):
    type = LayerType.SCALE

    def run(self, x: torch.Tensor) -> torch.Tensor:
        def channel(weights: Weights | None, missing: float) -> Any:
            if weights is None or weights.value is None:
                return missing
            self.one_type(x, weights.value)
            shape = [1] * x.ndim
            if self.mode is ScaleMode.CHANNEL:
                shape[self.channel_axis] = -1
            return weights.value.to(x.device).view(shape)

        if self.power is not None and self.power.value is not None and not bool_all(self.power.value == 1):
            raise NetworkError(f"{self.name}: a power, which this stand-in does not know")
        return x * channel(self.scale, 1.0) + channel(self.shift, 0.0)


class Gather(ILayer):
    type = LayerType.GATHER

    def run(self, x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        # In TensorRT the places keep their own shape, where the axis was.
        made = x.index_select(self.axis, places.flatten().to(torch.int64))
        return made.reshape([*x.shape[: self.axis], *places.shape, *x.shape[self.axis + 1 :]])


class Unary(ILayer):
    type = LayerType.UNARY

    def run(self, x: torch.Tensor) -> torch.Tensor:
        known = {UnaryOperation.SQRT: torch.sqrt, UnaryOperation.NOT: torch.logical_not, UnaryOperation.RECIP: torch.reciprocal, UnaryOperation.NEG: torch.neg}
        return known[self.op](x)


class Pooling(ILayer):
    type = LayerType.POOLING
    stride_nd, padding_nd, average_count_excludes_padding, padding_mode = None, (0, 0), True, None

    def run(self, x: torch.Tensor) -> torch.Tensor:
        stride = tuple(self.stride_nd) if self.stride_nd is not None else tuple(self.window_size)
        if self.kind is PoolingType.MAX:
            return F.max_pool2d(x, tuple(self.window_size), stride, tuple(self.padding_nd))
        return F.avg_pool2d(x, tuple(self.window_size), stride, tuple(self.padding_nd), count_include_pad=not self.average_count_excludes_padding)


class MatrixMultiply(ILayer):
    type = LayerType.MATRIX_MULTIPLY

    def run(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.one_type(x, y)
        x = x.transpose(-1, -2) if self.op0 is MatrixOperation.TRANSPOSE else x
        y = y.transpose(-1, -2) if self.op1 is MatrixOperation.TRANSPOSE else y
        return x @ y


class Shuffle(ILayer):
    type = LayerType.SHUFFLE
    first_transpose = second_transpose = reshape_dims = None

    def run(self, x: torch.Tensor) -> torch.Tensor:
        if self.first_transpose is not None:
            x = x.permute(*self.first_transpose)
        if self.reshape_dims is not None:
            # In TensorRT a zero stands for the input's own side.
            x = x.reshape([x.shape[axis] if side == 0 else side for axis, side in enumerate(self.reshape_dims)])
        return x if self.second_transpose is None else x.permute(*self.second_transpose)


class Unsqueeze(ILayer):
    type = LayerType.UNSQUEEZE

    def run(self, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
        places = self.inputs[1].layer.value.tolist()
        for axis in sorted(places if isinstance(places, list) else [places]):
            x = x.unsqueeze(axis)
        return x


class Identity(ILayer):
    type = LayerType.IDENTITY

    def run(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Select(ILayer):
    type = LayerType.SELECT

    def run(self, condition: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.one_type(x, y)
        return torch.where(condition, x, y)


def bool_all(values: torch.Tensor) -> Any:
    return values.all().item()


class INetworkDefinition:
    def __init__(self, flags: int = 0) -> None:
        if not flags & 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED:
            raise NetworkError("the network is not strongly typed")
        self.layers: list[ILayer] = []
        self.given: list[ITensor] = []
        self.marked: list[ITensor] = []
        self.name = ""

    @property
    def num_layers(self) -> int:
        return len(self.listed)

    @property
    def listed(self) -> list[ILayer]:
        return [layer for layer in self.layers if not isinstance(layer, Input)]

    def get_layer(self, index: int) -> ILayer:
        return self.listed[index]

    def get_flag(self, flag: NetworkDefinitionCreationFlag) -> Any:
        return flag is NetworkDefinitionCreationFlag.STRONGLY_TYPED

    def add_input(self, name: str, dtype: DataType, shape: tuple[int, ...]) -> ITensor:
        tensor = Input(self, [], shape=tuple(shape), dtype=dtype).get_output(0)
        tensor.name = name
        self.given.append(tensor)
        return tensor

    def mark_output(self, tensor: ITensor) -> None:
        self.marked.append(tensor)

    def add_cast(self, input: ITensor, to_type: DataType) -> ILayer:
        return Cast(self, [input], to_type=to_type)

    def add_constant(self, shape: Any, weights: Any) -> ILayer:
        value = weights.value if isinstance(weights, Weights) else torch.from_numpy(weights).clone()
        return Constant(self, [], value=value.view(tuple(shape)))

    def add_convolution_nd(self, input: ITensor, num_output_maps: int, kernel_shape: Any, kernel: Weights, bias: Weights | None = None) -> ILayer:
        return Convolution(self, [input], num_output_maps=num_output_maps, kernel_shape=tuple(kernel_shape), kernel=kernel, bias=bias)

    def add_activation(self, input: ITensor, type: ActivationType) -> ILayer:  # noqa: A002
        return Activation(self, [input], kind=type)

    def add_elementwise(self, input1: ITensor, input2: ITensor, op: ElementWiseOperation) -> ILayer:
        return ElementWise(self, [input1, input2], op=op)

    def add_concatenation(self, inputs: list[ITensor]) -> ILayer:
        return Concatenation(self, inputs)

    def add_resize(self, input: ITensor) -> ILayer:
        return Resize(self, [input])

    def add_reduce(self, input: ITensor, op: ReduceOperation, axes: int, keep_dims: Any) -> ILayer:
        return Reduce(self, [input], op=op, axes=axes, keep_dims=keep_dims)

    def add_softmax(self, input: ITensor) -> ILayer:
        return SoftMax(self, [input])

    def add_topk(self, input: ITensor, op: TopKOperation, k: int, axes: int, *_rest: Any) -> ILayer:
        return TopK(self, [input], op=op, k=k, axes=axes)

    def add_slice(self, input: ITensor, start: Any, shape: Any, stride: Any) -> ILayer:
        return Slice(self, [input], start=tuple(start), size=tuple(shape), stride=tuple(stride))

    def add_gather(self, input: ITensor, indices: ITensor, axis: int) -> ILayer:
        return Gather(self, [input, indices], axis=axis)

    def add_scale_nd(self, input: ITensor, mode: ScaleMode, shift: Any = None, scale: Any = None, power: Any = None, channel_axis: int = 1) -> ILayer:
        return Scale(self, [input], mode=mode, shift=shift, scale=scale, power=power, channel_axis=channel_axis)

    def add_unary(self, input: ITensor, op: UnaryOperation) -> ILayer:
        return Unary(self, [input], op=op)

    def add_pooling_nd(self, input: ITensor, type: PoolingType, window_size: Any) -> ILayer:  # noqa: A002
        return Pooling(self, [input], kind=type, window_size=tuple(window_size))

    def add_matrix_multiply(self, input0: ITensor, op0: MatrixOperation, input1: ITensor, op1: MatrixOperation) -> ILayer:
        return MatrixMultiply(self, [input0, input1], op0=op0, op1=op1)

    def add_shuffle(self, input: ITensor) -> ILayer:
        return Shuffle(self, [input])

    def add_unsqueeze(self, input: ITensor, axes: ITensor) -> ILayer:
        return Unsqueeze(self, [input, axes])

    def add_identity(self, input: ITensor) -> ILayer:
        return Identity(self, [input])

    def add_select(self, condition: ITensor, then_input: ITensor, else_input: ITensor) -> ILayer:
        return Select(self, [condition, then_input, else_input])


class IBuilderConfig:
    def __init__(self) -> None:
        self.flags: list[Any] = []
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor: Any = None
        self.limits: dict[Any, int] = {}
        self._timings = b""

    def set_flag(self, flag: Any) -> None:
        self.flags.append(flag)

    def clear_flag(self, flag: Any) -> None:
        pass

    def set_preview_feature(self, feature: Any, on: Any) -> None:
        pass

    def set_memory_pool_limit(self, pool: Any, limit: int) -> None:
        self.limits[pool.name] = limit

    def create_timing_cache(self, content: bytes) -> Any:
        return _TimingCache(content)

    def set_timing_cache(self, cache: Any, ignore_mismatch: Any) -> None:
        self._timings = cache

    def get_timing_cache(self) -> Any:
        return self._timings


class _TimingCache:
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
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        Builder.configs.append(IBuilderConfig())
        return Builder.configs[-1]

    def build_engine_with_config(self, network: INetworkDefinition, config: IBuilderConfig) -> ICudaEngine | None:
        if Builder.fault:
            self.logger.log(ILogger.Severity.ERROR, Builder.fault)
            return None
        going = [True]

        def work() -> None:  # TensorRT reports from threads of its own
            monitor = config.progress_monitor
            if monitor is not None:
                monitor.phase_start("Building Engine", None, len(network.layers))
                for step, layer in enumerate(network.layers):
                    layer.known()
                    if not monitor.step_complete("Building Engine", step):
                        going[0] = False
                        break
                monitor.phase_finish("Building Engine")

        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
        return ICudaEngine(network, config.profiling_verbosity) if going[0] else None


class IHostMemory(bytes):
    __slots__ = ()


class ICudaEngine:
    def __init__(self, network: INetworkDefinition, verbosity: ProfilingVerbosity) -> None:
        self.network, self.profiling_verbosity = network, verbosity
        self.ports = [*network.given, *network.marked]

    num_io_tensors = property(lambda self: len(self.ports))

    def serialize(self) -> IHostMemory:
        return IHostMemory(pickle.dumps(self))

    def get_tensor_name(self, index: int) -> str:
        return self.ports[index].name

    def _port(self, name: str) -> ITensor:
        return next(port for port in self.ports if port.name == name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if self._port(name) in self.network.given else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._port(name).dtype

    def get_tensor_shape(self, name: str) -> Dims:
        return self._port(name).shape

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:  # noqa: A002
        layers = self.engine.network.listed
        if self.engine.profiling_verbosity is not ProfilingVerbosity.DETAILED:
            return json.dumps({"Layers": [layer.name for layer in layers]})

        def ports(tensors: list[ITensor]) -> list[dict[str, Any]]:
            words = {DataType.FLOAT: "Float", DataType.HALF: "Half"}
            return [{"Name": one.name, "Dimensions": list(one.shape), "Format": "Row major linear", "Datatype": words.get(one.dtype, one.dtype.name)} for one in tensors]

        return json.dumps(
            {"Layers": [{"Name": layer.name, "LayerType": layer.type.name, "Inputs": ports(layer.inputs), "Outputs": ports(layer.made)} for layer in layers]}
        )


class IExecutionContext:
    captured: ClassVar[list[Any] | None] = None
    """Where a graph is being captured: what it keeps."""

    def __init__(self, engine: ICudaEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}

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
        network, done = self.engine.network, {}
        for layer in network.layers:
            if isinstance(layer, Input):
                tensor = layer.get_output(0)
                made: Any = _from_address(self.addresses[tensor.name], tensor.dtype.value, tensor.shape)
            elif isinstance(layer, Constant):
                made = layer.value
            else:
                made = layer.run(*(done[id(tensor)] for tensor in layer.inputs))
            for tensor, value in zip(layer.made, made if isinstance(made, tuple) else (made,), strict=True):
                done[id(tensor)] = value
        for tensor in network.marked:
            _from_address(self.addresses[tensor.name], tensor.dtype.value, tensor.shape).copy_(done[id(tensor)])


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, content: bytes) -> ICudaEngine | None:
        try:
            engine = pickle.loads(content)
        except Exception:
            self.logger.log(ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magic tag does not match)")
            return None
        return engine


def _from_address(pointer: int, dtype: torch.dtype, shape: Any) -> torch.Tensor:
    count = 1
    for side in shape:
        count *= side
    return torch.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(pointer), dtype=dtype).view(tuple(shape))
