"""Finds the shots of a batch: turns files, folders, patterns and job files into `Shot` objects."""

from __future__ import annotations

import csv
import glob
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streammat.batch.files import is_pattern
from streammat.errors import InputError, UsageError, first_line, one_line
from streammat.film.sequences import IMAGES
from streammat.media.containers import CLIPS
from streammat.paths import listed

KINDS: Final = ("output", "matte", "foreground")
"""Kinds of outputs of a shot; the first is the file that ``streammat video`` calls OUT."""
TEMPLATE: Final = "{out}/{shot}.mov"
"""Default output of a clip: ProRes 4444 with alpha."""
SEQUENCE: Final = "{out}/{shot}/{shot}_matte.{frame}.exr"
"""Default matte of a sequence."""
JOB_FILES: Final = (".toml", ".yaml", ".yml", ".csv")

Row = Mapping[str, Any]
"""Keys: ``source``, ``name``, templates by kind; any other key is an option of ``streammat video`` by its long name."""


@dataclass(frozen=True)
class Shot:
    """One input and the outputs to make of it."""

    name: str
    """Unique in its batch; fit for a file name."""
    source: str
    outputs: tuple[tuple[str, str], ...]
    """(kind, path) in the order of `KINDS`."""
    options: tuple[str, ...] = ()
    """Options of ``streammat video``, as on a command line; none of them names an output."""
    model: str = "lite"
    """The value of ``--model`` among ``options``."""

    def command(self, outputs: Mapping[str, str], *more: str) -> list[str]:
        """Return the arguments of ``streammat`` that make this shot, or the part that ``more`` selects, as ``outputs`` by kind."""
        beside = [word for kind, path in outputs.items() if kind != "output" for word in (f"--{kind}", path)]
        return ["video", self.source, *([outputs["output"]] if "output" in outputs else []), *beside, *self.options, *more]


class _FrameNumber:
    """Value of ``{frame:04d}`` in a template: becomes the pattern ``%04d``; ``{frame}`` takes as many digits as the input has."""

    def __format__(self, specification: str) -> str:
        return f"%{specification}" if specification else "#"


def rows_of(sources: Iterable[str]) -> list[Row]:
    """Return one row for each clip that ``sources`` name, in the order given; clips of a folder or a pattern are sorted.

    Raises:
        UsageError: a job file has a mistake.
        InputError: nothing is there.
    """
    found: list[Row] = []
    for source in sources:
        path = Path(source)
        if path.suffix.lower() in JOB_FILES:
            found += _job_file(path)
        elif os.path.isdir(path):
            found += _folder(path)
        elif glob.has_magic(source) and not os.path.exists(path):
            if not (matches := sorted(glob.glob(source))):
                raise InputError(f"{source}: no file matches this pattern; check the folder")
            found += ({"source": each} for each in matches)
        else:
            found.append({"source": source})
    return found


def _folder(path: Path) -> list[Row]:
    """Return the clips in a folder, the folders in it that hold a sequence, or the sequence in the folder itself."""
    names = listed(path)
    clips: list[Row] = [{"source": str(each)} for each in names if each.suffix.lower() in CLIPS]
    clips += [{"source": str(folder)} for folder in names if folder.is_dir() and any(each.suffix.lower() in IMAGES for each in listed(folder))]
    if not clips and any(each.suffix.lower() in IMAGES for each in names):
        return [{"source": str(path)}]
    if not clips:
        raise InputError(f"{path}: holds neither clips nor numbered images; expected files that end in {', '.join((*CLIPS, *IMAGES))}")
    return clips


def _name_of(source: str) -> str:
    """Return a shot's name: that of its clip or folder; of a sequence, up to the first dot."""
    path = Path(source)
    if is_pattern(source):
        return path.name.split(".")[0].split("%")[0].split("#")[0].rstrip("_-") or path.parent.name
    return path.resolve().name if os.path.isdir(path) else path.stem


def shots_of(
    rows: Sequence[Row], out: str, templates: Mapping[str, str], options: Callable[[Mapping[str, Any]], tuple[Sequence[str], str]]
) -> tuple[Shot, ...]:
    """Return a shot for each row.

    Args:
        rows: as from `rows_of`.
        out: the folder that replaces ``{out}``.
        templates: by kind; a row's own take precedence.
        options: returns a row's further keys as checked arguments of ``streammat video``, and the model they select.

    Raises:
        UsageError: a template or an option is wrong, or two shots or two outputs have the same name.
    """
    shots = []
    for row in rows:
        source = str(row["source"])
        name = str(row.get("name") or _name_of(source))
        if Path(name).name != name or name.startswith("."):
            raise UsageError(f"shot {name!r}: is no name for files; leave slashes and a dot at its beginning out")
        values = {"out": out, "shot": name, "ext": Path(source).suffix.lstrip("."), "frame": _FrameNumber()}
        usual = {"matte": SEQUENCE} if is_pattern(source) or os.path.isdir(source) else {"output": TEMPLATE}
        own = {**templates, **{kind: str(row[kind]) for kind in KINDS if row.get(kind)}}
        # A matte beside a clip's output is one more; a sequence's output takes the place of the usual matte.
        chosen = own if own and "matte" in usual else {**usual, **own}
        outputs = tuple((kind, _filled(chosen[kind], values)) for kind in KINDS if kind in chosen)
        rest = {key: value for key, value in row.items() if key not in ("source", "name", *KINDS)}
        try:
            arguments, model = options(rest)
            shots.append(Shot(name, source, outputs, tuple(arguments), model))
        except UsageError as error:
            raise UsageError(f"shot {name}: {error}") from error
    _refuse_the_same(shots)
    return tuple(shots)


def _filled(template: str, values: Mapping[str, Any]) -> str:
    try:
        return os.path.normpath(template.format_map(values))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise UsageError(f"template {template!r}: {first_line(error)} is unknown; expected {{out}}, {{shot}}, {{ext}} and {{frame:04d}}") from error


def _refuse_the_same(shots: Iterable[Shot]) -> None:
    names: dict[str, Shot] = {}
    paths: dict[str, Shot] = {}
    for shot in shots:
        if (other := names.get(shot.name.lower())) is not None:
            raise UsageError(f"two shots are named {shot.name} ({other.source} and {shot.source}); name them in a job file")
        names[shot.name.lower()] = shot
        for _, path in shot.outputs:
            if (other := paths.get(os.path.realpath(path).lower())) is not None:
                raise UsageError(f"{path}: is to be made of shot {other.name} and of shot {shot.name}; put {{shot}} into the templates, each with a name of its own")
            paths[os.path.realpath(path).lower()] = shot


def _job_file(path: Path) -> list[Row]:
    """Return the rows of a TOML or YAML file (``shot``, a list of tables, and ``defaults`` for all of them) or of a CSV file with
    a header line.
    """
    try:
        if path.suffix.lower() == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows: list[dict[str, Any]] = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
        else:
            document = _document(path)
            if unknown := sorted(set(document) - {"shot", "defaults"}):
                raise UsageError(f"{path}: {unknown[0]!r} is unknown; expected defaults, a table, and shot, a list of tables")
            shots, defaults = document.get("shot", []), document.get("defaults", {})
            if not isinstance(shots, list) or not isinstance(defaults, dict) or not all(isinstance(shot, dict) for shot in shots):
                raise UsageError(f"{path}: expected defaults, a table, and shot, a list of tables")
            rows = [{**defaults, **shot} for shot in shots]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({first_line(error)}); expected a job file in TOML, YAML or CSV") from error
    except (ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: is no {path.suffix[1:].upper()} ({first_line(error)}); expected a job file") from error
    if not rows:
        raise InputError(f"{path}: has no shot; expected a list of them, or CSV lines below a line of names")
    for number, row in enumerate(rows, 1):
        if any("\0" in each for each in row.values() if isinstance(each, str)):
            raise UsageError(f"{path}: shot {number} has a text with a zero byte; expected names and values")
        if None in row or not isinstance(row.get("source"), str):
            raise UsageError(f"{path}: shot {number} has no source, or more columns than the first line; give source, and options by their long names")
        # Beside the job file, so that it can be moved with its clips.
        row["source"] = str(path.parent / row["source"])
    return list(rows)


def _document(path: Path) -> dict[str, Any]:
    """Read a TOML or YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not TOML or YAML.
        UsageError: the package that reads YAML is not installed.
    """
    if path.suffix.lower() == ".toml":
        with path.open("rb") as file:
            return tomllib.load(file)
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise UsageError(f"{path}: YAML cannot be read; pip install 'streammat[film]' adds what reads it, or write the job as TOML or CSV") from error
    try:
        found = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(one_line(error)) from error
    if not isinstance(found, dict):
        raise ValueError("it holds no table")  # noqa: TRY004 - as of a file that is no YAML
    return {str(key): value for key, value in found.items()}
