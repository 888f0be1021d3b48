"""Makes any tensor of an ONNX file its only output, without the package ``onnx``, which the runtime does not need.

An ONNX file is a message of protobuf, a row of fields, each with its number and its bytes (https://protobuf.dev/programming-guides/encoding): the
graph is field 7 of the model; a node is field 1 of the graph, in an order in which each comes after those that it needs, and an output is its field 12;
the names that a node takes and makes are its fields 1 and 2.
"""

from __future__ import annotations

from collections.abc import Iterator

_GRAPH = 7
_NODE, _OUTPUT = 1, 12
_TAKES, _MAKES = 1, 2
_NAME = 1
_BYTES = 2
_FIXED = {1: 8, 5: 4}
"""Bytes of a value by kind of field."""


def with_output(content: bytes, name: str) -> bytes:
    """Return an ONNX file with one output and only the nodes that it needs: ONNX Runtime would run the others as well.

    Args:
        content: the file's bytes.
        name: an existing tensor of the graph.

    Raises:
        ValueError: it is no ONNX file, or has no such tensor.
    """
    made = [_field(_GRAPH, _pruned(value, name)) if number == _GRAPH else whole for number, whole, value in _fields(memoryview(content))]
    return b"".join(made)


def _pruned(graph: memoryview, name: str) -> bytes:
    """Return a graph with one output and the nodes that it needs."""
    needed, kept = {name.encode()}, [_field(_OUTPUT, _field(_NAME, name.encode()))]
    found = False
    for number, whole, value in reversed(list(_fields(graph))):
        if number == _NODE:
            names = [(kind, bytes(text)) for kind, _, text in _fields(value) if kind in (_TAKES, _MAKES)]
            if needed.isdisjoint(text for kind, text in names if kind == _MAKES):
                continue
            needed.update(text for kind, text in names if kind == _TAKES)
            found = True
        if number != _OUTPUT:
            kept.append(bytes(whole))
    if not found:
        raise ValueError(f"it has no tensor {name}")
    return b"".join(reversed(kept))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield number, all bytes and value of each field."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _number(message, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _number(message, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        elif kind == 0:
            length = _number(message, at)[1] - at
        else:
            raise ValueError(f"no field has kind {kind}")
        if at + length > len(message):
            raise ValueError("the file ends too early")
        yield tag >> 3, message[begin : at + length], message[at : at + length]
        at += length


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number of variable length at a position, and the position after it."""
    value, shift = 0, 0
    while True:
        if at >= len(message):
            raise ValueError("the file ends too early")
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _field(number: int, value: bytes) -> bytes:
    length, size = len(value), bytearray()
    while length >= 0x80:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    size.append(length)
    return bytes((number << 3 | _BYTES,)) + bytes(size) + value
