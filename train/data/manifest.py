"""Manifests: CSV tables of a command's results; each line is a dataclass of strings."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from streammat.train.data.pool import write_whole
from streammat.train.errors import RunError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = TypeVar("Row", bound="DataclassInstance")


def read_manifest(path: Path, kind: type[Row]) -> list[Row]:
    """Read the lines of a manifest; no file means no lines.

    Args:
        path: file of `write_manifest`.
        kind: dataclass of strings.

    Raises:
        RunError: the file is not a manifest of this kind.
    """
    if not path.exists():
        return []
    columns = [column.name for column in fields(kind)]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
            if header != columns or any(len(line) != len(columns) for line in lines):
                raise ValueError(f"its columns are {', '.join(header)}")
            return [kind(*line) for line in lines]
    except (OSError, ValueError, csv.Error) as error:  # a UnicodeDecodeError is a ValueError
        raise RunError(
            f"{path} is no manifest of this command ({error}); expected columns {', '.join(columns)}: choose another folder"
        ) from error


def write_manifest(path: Path, rows: Iterable[Row], kind: type[Row]) -> None:
    """Write a header and lines, atomically.

    Args:
        path: CSV file.
        rows: instances of ``kind``.
        kind: dataclass of strings; its fields are the columns.

    Raises:
        RunError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(kind)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_whole(path, text.getvalue().encode())
