"""Wrong usage of any command: exit code 2 and one line that names what was found, what was expected and the hint; and what ``--help`` shows."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import click
import numpy as np
import pytest
from media import frames_of, matched, write_clip, write_still
from running import QUICK, REPOSITORY, Run, call, in_process, names, run, video

from streammat.cli import main
from streammat.cli.values import Time
from streammat.engines.usage import Number, Whole
from streammat.timecode import parse_moment
from streammat.train.cli import COMMANDS
from streammat.train.cli import main as train

FRAMES = 8


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(128, 96), frames=FRAMES)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_still(tmp_path_factory.mktemp("still") / "in.png", np.full((64, 64, 3), 120, np.uint8))


def commands(group: click.Group = main, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_shows_examples_as_they_are_typed(words: tuple[str, ...]) -> None:
    shown = call(*words, "--help").ok().out
    assert "\\b" not in shown
    for line in shown.splitlines():
        assert line.count("streammat ") < 2 or "(" in line or "`" in line, line


@pytest.mark.parametrize(("command", "groups"), [
    ("video", {"Input": "--start", "Output": "--codec", "Background": "--bg", "Matte": "--quality", "Engine": "--device", "Messages": "--help"}),
    ("webcam", {"Input": "--camera", "Output": "--to", "Background": "--bg", "Matte": "--stable", "Engine": "--threads", "Messages": "--log"}),
    ("image", {"Output": "--overwrite", "Background": "--fit", "Matte": "--model", "Engine": "--engine", "Messages": "--json"}),
])
def test_help_lists_options_by_group(command: str, groups: dict[str, str]) -> None:
    shown = call(command, "--help").ok().out
    titles = [line.removesuffix(":") for line in shown.splitlines() if line.endswith(":") and not line.startswith((" ", "Usage"))]
    assert titles == list(groups)
    for title, option in groups.items():
        assert option in shown.split(f"\n{title}:\n")[1].split("\n\n")[0], title


@pytest.mark.parametrize(("arguments", "words"), [
    (["--nosuch"], ["--nosuch", "streammat --help"]),
    (["vide"], ["vide", "did you mean 'video'", "streammat --help"]),
    (["video"], ["missing", "IN", "streammat video --help"]),
    (["video", "in.mp4"], ["missing", "OUT"]),
    (["video", "a", "b", "c"], ["unexpected", "c"]),
    (["video", "a", "b", "--bg"], ["--bg", "requires an argument"]),
    (["video", "a", "b", "--crf", "99"], ["--crf", "99", "63"]),
    (["image", "a", "b", "--quality", "so-so"], ["--quality", "so-so", "balanced"]),
    (["webcam", "--fps", "many"], ["--fps", "many"]),
    (["webcam", "surplus"], ["surplus", "streammat webcam --help"]),
    (["bench", "--batch", "0"], ["--batch", "0", "256"]),
    (["engine", "build", "--nosuch"], ["--nosuch", "streammat engine build --help"]),
    (["model", "show"], ["missing", "NAME", "streammat model show --help"]),
], ids=" ".join)
def test_wrong_usage_is_one_line(arguments: list[str], words: list[str]) -> None:
    done = call(*arguments)
    done.refused(2, "--help", *words)
    assert len(done.err.splitlines()) == 1, done.err
    assert done.out == ""


def test_wrong_usage_in_json() -> None:
    done = call("video", "a", "b", "--crf", "x", "--json")
    done.refused(2, "--crf")
    assert done.report == {"error": done.error}


def test_no_arguments_at_all_show_help() -> None:
    assert "Commands:" in (done := call()).out + done.err


# --------------------------------------------------------------------------------------------------------------------
# Values


def programs() -> Iterator[tuple[str, tuple[str, ...], click.Command]]:
    """Every command of both programs."""
    for words in commands():
        command: click.Command = main
        for word in words:
            assert isinstance(command, click.Group)
            command = command.commands[word]
        yield "streammat", words, command
    for name in COMMANDS:
        try:
            found = train.get_command(click.Context(train), name)
        except ImportError:  # without the packages that training needs
            continue
        assert found is not None
        yield "train", (name,), found


NUMERIC = [
    (program, words, max(option.opts, key=len), option.type)
    for program, words, command in programs() for option in command.params
    if isinstance(option, click.Option) and not option.is_flag and isinstance(option.type, click.types.FloatParamType | click.types.IntParamType | Time)
]
NO_NUMBERS = ("nan", "inf", "-inf", "1e30", "9" * 30, "9" * 5000, "1e400", "many", "²")


@pytest.mark.parametrize(("program", "words", "option", "kind"), NUMERIC, ids=lambda value: " ".join(value) if isinstance(value, tuple) else getattr(value, "name", str(value)))
def test_every_number_is_finite_and_within_bounds(program: str, words: tuple[str, ...], option: str, kind: click.ParamType[object]) -> None:
    assert isinstance(kind, Number | Whole | Time), "numbers of click's own take nan, and say no word of what was expected"
    for value in NO_NUMBERS:
        done = call(*words, option, value) if program == "streammat" else in_process(train, "train", (*words, option, value))
        assert done.code == 2, (value, done)
        (line,) = done.err.splitlines()
        assert line.startswith(f"{program}: error: {option}: {value[:9]}"), line
        assert "expected" in line
        assert "--help" in line
        assert len(line) < 400


@pytest.mark.parametrize("text", ["", "1:2:3:4:5", "1:2:", "-1", "1e3", "1:-2", "::", "0x10", "12 s", "1:00:00:1234", "1:75:00:00", "٣"])
def test_what_is_no_time(text: str) -> None:
    for option in ("--start", "--duration"):
        call("video", "a.mp4", "b.mp4", option, text).refused(2, option, "expected")


@pytest.mark.parametrize(("text", "rate", "seconds"), [
    ("90", 25, 90), ("1.5", 25, 1.5), (".5", 25, 0.5), ("1:30", 25, 90), ("0:01:30.25", 25, 90.25), ("90:00", 25, 5400), (" 2 ", 25, 2),
    ("1:00:01", 25, 3601), ("2:03:04.5", 25, 7384.5), ("20:10:56:07", 25, 72656 + Fraction(7, 25)),
    ("00:00:02:12", 25, Fraction(62, 25)), ("00:01:00:00", Fraction(30000, 1001), Fraction(1800 * 1001, 30000)),
    # SMPTE ST 12-1: after 00:00:59;29 comes 00:01:00;02, and 00:10:00;00 is frame 17982.
    ("00:00:59;29", Fraction(30000, 1001), Fraction(1799 * 1001, 30000)), ("00:01:00;02", Fraction(30000, 1001), Fraction(1800 * 1001, 30000)),
    ("00:10:00;00", Fraction(30000, 1001), Fraction(17982 * 1001, 30000)), ("00:10:00;00", Fraction(60000, 1001), Fraction(35964 * 1001, 60000)),
    ("00:01:00;00", 25, 60),
])
def test_times(text: str, rate: Fraction, seconds: Fraction) -> None:
    assert parse_moment(text).at(Fraction(rate)) == Fraction(seconds)
    assert parse_moment(str(parse_moment(text))) == parse_moment(text)


def test_times_choose_frames(clip: Path, tmp_path: Path) -> None:
    """All ways to write one time begin at one frame; what the rate does not have is told."""
    for text in ("0.08", "0:00.08", "0:0:0.08", "00:00:00:02"):
        done = video(clip, tmp_path / "out.mp4", "-y", "--start", text, "--duration", "00:00:00:03", "--bg", "black").ok()
        assert done.report["frames_out"] == 3, text
        assert matched(frames_of(tmp_path / "out.mp4"), frames_of(clip)) == [2, 3, 4], text
    video(clip, tmp_path / "out.mp4", "-y", "--start", "0:0:0:25").refused(2, "0:00:25", "25 frames per second", "0 to 24")
    video(clip, tmp_path / "out.mp4", "-y", "--start", "0:00:02").refused(2, "--start 2", "last frame", "count from the first frame")


@pytest.mark.parametrize(("arguments", "code", "words"), [
    # Empty: a variable that a script forgot to set.
    (["video", "{clip}", "{out}", "--bg", ""], 2, ["--bg", "empty"]), (["video", "{clip}", "{out}", "--matte", ""], 2, ["--matte", "empty"]),
    (["image", "{still}", "{out}", "--model", " "], 2, ["--model", "empty"]), (["webcam", "--camera", ""], 2, ["--camera", "empty"]),
    (["webcam", "--to", "null", "--to", ""], 2, ["--to", "empty"]), (["webcam", "--microphone", ""], 2, ["--microphone", "empty"]),
    (["video", "", "{out}"], 2, ["empty name", "a video file"]), (["video", "{clip}", ""], 2, ["empty name", "an output"]),
    # A place where nothing can be written.
    (["video", "{clip}", "{folder}/none/out.mp4"], 1, ["no folder", "/none;", "make it"]), (["video", "{clip}", "{clip}/out.mp4"], 1, ["is a file", "folder"]),
    (["video", "{clip}", "{out}", "--matte", "{folder}/none/m.mkv"], 1, ["no folder", "make it"]),
    (["video", "{clip}", "{folder}/none/out.%05d.png"], 1, ["no folder", "make it"]), (["video", "{clip}", "{folder}/{long}.mp4"], 1, ["too long", "another name"]),
    (["image", "{still}", "{folder}/none/out.png"], 1, ["no folder"]), (["image", "{still}", "{still}", "{folder}/{long}/"], 1, ["too long"]),
    (["webcam", "--camera", "{clip}", "--to", "{folder}/none/out.mp4"], 1, ["no folder"]), (["webcam", "--log", "{folder}/none/log"], 2, ["--log", "no such"]),
    (["bench", "{clip}", "--out", "{folder}/none/b.json"], 1, ["no folder"]), (["model", "export", "lite", "{folder}/none/m.onnx"], 1, ["no folder"]),
    # Nothing there, or of another kind.
    (["video", "{folder}/{long}.mp4", "{out}"], 1, ["too long"]), (["video", "{clip}", "{out}", "--bg", "{folder}/{long}.jpg"], 1, ["background", "too long"]),
    (["image", "{folder}/{long}.png", "{folder}/o.png"], 1, ["too long"]), (["webcam", "--camera", "{folder}/{long}.mp4"], 1, ["too long"]),
    (["video", "{clip}", "{out}", "--model", "{folder}/{long}.onnx"], 1, ["too long"]), (["engines", "--model", "{folder}/{long}.pth"], 1, ["too long"]),
    (["video", "{clip}", "{out}", "--model", "~nouser/m.onnx"], 1, ["~nouser/m.onnx", "no such file"]),
    (["model", "export", "lite", "~nouser/m.onnx"], 1, ["no folder", "~nouser"]),
    (["video", "{folder}/shot.%04d.exr", "{out}"], 1, ["shot.####.exr", "no such files", "check the name"]),
    (["image", "{still}", "-y"], 2, ["out is missing", "in.png", "such as"]), (["webcam", "--camera", "²"], 1, ["neither a file nor"]),
    # Values that an encoder has, or not.
    (["video", "{clip}", "{out}", "--preset", "nope"], 2, ["--preset nope", "h264", "veryfast"]),
    (["video", "{clip}", "{folder}/o.webm", "--preset", "fast"], 2, ["--preset fast", "vp9", "0, 1"]),
    (["video", "{clip}", "{out}", "--crf", "60"], 2, ["--crf 60", "51", "h264"]),
    (["webcam", "--size", "50000x50000"], 2, ["--size", "50000x50000", "16384"]), (["bench", "--size", "50000x50000"], 2, ["--size", "50000x50000"]),
    (["model", "export", "lite", "{folder}/o.onnx", "--frame", "50000x50000"], 2, ["--frame", "50000x50000"]),
    (["engine", "build", "--size", "50000x50000"], 2, ["--size", "50000x50000"]),
    # Numbers of thousands of digits, which Python itself refuses to read.
    (["video", "{clip}", "{out}", "--bg", "{digits},1,1"], 2, ["is not a colour"]), (["video", "{clip}", "{folder}/o.%99999999d.png"], 2, ["pattern such as"]),
    (["video", "{folder}/a.%{digits}d.png", "{out}"], 1, ["numbered"]), (["video", "{clip}", "{out}", "--frames", "1-99999999999"], 2, ["--frames", "1001-1100"]),
    (["video", "{clip}", "{out}", "--subject", "{digits},1"], 2, ["--subject", "largest"]), (["webcam", "--camera", "{clip}", "--web", "localhost:{digits}"], 2, ["--web", "host:port"]),
    # What is named and asked for nothing.
    (["video", "{clip}", "{out}", "--ocio", "{folder}/none.ocio"], 1, ["none.ocio", "no such file"]), (["video", "{clip}", "{out}", "--ocio", "{still}"], 1, ["--ocio", "expected a config"]),
    (["video", "{clip}", "{out}", "--matte-codec", "prores"], 2, ["--matte-codec", "there is no --matte"]),
    (["webcam", "--camera", "{clip}", "--web", "127.0.0.1:0", "--web-allow", "http://x"], 2, ["--web-allow", "192.168.1.5"]),
    (["webcam", "--camera", "{clip}", "--to", "alpha:{digits}"], 2, ["alpha:port", "8138"]), (["webcam", "--camera", "{clip}", "--to", "null", "--recordings", "{folder}/{long}"], 2, ["--recordings", "no folder"]),
    (["image", "{still}", "{folder}/o.png", "--subject", "999,5"], 1, ["--subject 999,5", "outside", "64x64"]),
    # Shots and job files of a batch.
    (["batch", "-q", "{folder}/none", "{folder}/o"], 1, ["none", "no such file"]), (["batch", "{folder}/*.mov", "{folder}/o"], 1, ["no file matches"]),
    (["batch", "{clip}", "{folder}/o", "--subject", "nan,nan", "--emit", "openjd"], 2, ["--subject", "largest"]), (["batch", "{clip}", "{folder}/o", "--frames", "x", "--dry-run"], 2, ["--frames"]),
    (["batch", "{clip}", "{clip}"], 1, ["cannot be used", "permissions"]), (["batch", "{clip}", "{folder}/o", "--output", "{{out}}/{{0}}.mov"], 2, ["template", "{{shot}}"]),
], ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "")
def test_what_cannot_be_is_one_line(clip: Path, still: Path, tmp_path: Path, arguments: list[str], code: int, words: list[str]) -> None:
    """With its cause and its hint, and nothing is left behind."""
    given = {"clip": clip, "still": still, "folder": tmp_path, "out": tmp_path / "out.mp4", "long": "n" * 300, "digits": "9" * 5000}
    done = call(*(word.format(**given) for word in arguments))
    done.refused(code, *(word.format(**given) for word in words))
    assert len(done.err.splitlines()) == 1, done.err
    assert len(done.err) < 1000
    assert names(tmp_path) in ([], ["o"])


@pytest.mark.parametrize("job", ['source = "a\\u0000b.mp4"', 'source = "a.mp4"\nname = "a\\u0000b"', "source = 'a.mp4'\nfps = nan", "source = 'a.mp4'\nstart = 2020-01-01", "source = 5"])
def test_shots_that_mean_nothing(tmp_path: Path, job: str) -> None:
    (tmp_path / "job.toml").write_text(f"[[shot]]\n{job}\n")
    done = call("batch", tmp_path / "job.toml", tmp_path / "out").refused(2, "shot")
    assert len(done.err.splitlines()) == 1, done.err
    assert names(tmp_path) == ["job.toml"]


@pytest.mark.parametrize(("text", "words"), [
    ("bg = []", ["bg", "at least one"]), ("to = []", ["to", "at least one"]), ("bg = [[1]]", ["bg", "text or a number"]), ("bg = [{a = 1}]", ["text or a number"]),
    ("bg = " + "[" * 5000, ["no TOML"]), ("a." * 5000 + "b = 1", ["unknown option 'a'"]), ("fps = nan", ["--fps", "nan"]), ("fps = inf", ["--fps", "inf"]),
    ("fps = " + "9" * 5000, ["no TOML"]), ("camera = true", ["camera", "text or a number"]), ("bg = ''", ["--bg", "empty"]), ("size = 12", ["--size 12"]),
    ("duration = -1", ["--duration", "-1"]), ("duration = 12:00:00", ["duration", "text or a number"]),
])
def test_config_files_that_mean_nothing(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "me.toml").write_text(text)
    for command in ("webcam", "config") if "size" not in text else ("webcam",):
        done = call(command, "--config", tmp_path / "me.toml")
        done.refused(2, *words)
        assert len(done.err.splitlines()) == 1


def test_times_of_a_config_file(tmp_path: Path) -> None:
    """What `config` prints is what `webcam --config` reads."""
    printed = call("config", "--duration", "1:30").ok().out
    assert 'duration = "90"' in printed
    (tmp_path / "me.toml").write_text(printed)
    assert call("config", "--config", tmp_path / "me.toml").ok().out == printed


# --------------------------------------------------------------------------------------------------------------------
# What may not be read or written, and headers that are meant to break a reader


def as_anybody(*commands: Sequence[str], environment: dict[str, str]) -> list[Run]:
    """Runs, one after the other in one process, that permissions hold for, as they do not for root."""
    if os.name == "nt" or (os.geteuid() == 0 and shutil.which("setpriv") is None):
        pytest.skip("nothing is forbidden to whoever runs this")
    wrap = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--"] if os.geteuid() == 0 else []
    code = (
        f"import dataclasses, json, sys; sys.path.insert(0, {str(REPOSITORY / 'tests')!r}); from running import call\n"
        "print(json.dumps([dataclasses.asdict(call(*words)) for words in json.loads(sys.stdin.read())]))"
    )
    done = subprocess.run(
        [*wrap, sys.executable, "-c", code], input=json.dumps(commands), capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [Run(**one) for one in json.loads(done.stdout)]


def test_what_is_forbidden_is_one_line(clip: Path, still: Path, tmp_path: Path) -> None:
    """Files and folders that may not be looked at, and those that may be looked at and neither read nor written."""
    for name in ("locked", "readonly"):
        (tmp_path / name).mkdir()
        for source, target in ((clip, "in.mp4"), (still, "in.png"), (clip, "m.onnx"), (clip, "m.pth"), (clip, "me.toml")):
            shutil.copy(source, tmp_path / name / target)
            (tmp_path / name / target).chmod(0)
    patterns = [
        "video {bad}/in.mp4 {out}.mp4", "video {clip} {bad}/out.mp4", "video {clip} {out}.mp4 --matte {bad}/out.mkv", "video {clip} {out}.mp4 --bg {bad}/in.png",
        "video {clip} {out}.mp4 --model {bad}/m.onnx", "video {clip} {bad}/o.%05d.png", "engines --model {bad}/m.pth", "model import {bad}/m.pth",
        "image {bad}/in.png {out}.png", "image {still} {bad}/out.png", "image {still} {bad}/new/", "webcam --camera {bad}/in.mp4",
        "webcam --camera {clip} --bg {bad}/in.png", "webcam --camera {clip} --to {bad}/out.mkv", "webcam --camera {clip} --to null --log {bad}/log",
        "webcam --config {bad}/me.toml", "config --config {bad}/me.toml", "bench {clip} --out {bad}/b.json", "bench {bad}/in.mp4", "model export lite {bad}/m.onnx",
    ]
    given = {"clip": clip, "still": still, "out": tmp_path / "out"}
    commands = [pattern.format(**given, bad=tmp_path / bad).split() for bad in ("locked", "readonly") for pattern in patterns]
    folders = ["image {bad}/ {out}/", "video {bad}/ {out}/", "batch {bad}/ {out}", "video {clip} {out}.mp4 --include {bad}/in.png", "video {clip} {out}.mp4 --ocio {bad}/in.png"]
    commands += [pattern.format(**given, bad=tmp_path / "locked").split() for pattern in folders]
    commands += [["model", "list"], ["model", "show", "x"], ["engine", "list"]]
    (tmp_path / "locked").chmod(0)
    (tmp_path / "readonly").chmod(0o555)
    try:
        found = as_anybody(*commands, environment=dict.fromkeys(("STREAMMAT_MODELS", "STREAMMAT_CACHE"), str(tmp_path / "locked" / "x")))
    finally:
        for name in ("locked", "readonly"):
            (tmp_path / name).chmod(0o700)
    for words, done in zip(commands, found, strict=True):
        done.refused(2 if "--config" in words or "--log" in words else 1, "permission denied", next((f"/{bad}" for bad in ("locked", "readonly") if f"/{bad}/" in " ".join(words)), "STREAMMAT_"))
        assert any(hint in done.err for hint in ("permissions", "another path", "STREAMMAT_", "--help")), done.err
        assert len(done.err.splitlines()) == 1, done.err
    assert names(tmp_path) == ["locked", "readonly"]
    assert len(names(tmp_path / "readonly")) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no HOME")
def test_without_a_home(monkeypatch: pytest.MonkeyPatch, still: Path, tmp_path: Path) -> None:
    """HOME is not set and the system does not know the user, as in many containers: what needs no home works."""
    import pwd

    def unknown(_number: int) -> pwd.struct_passwd:
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "STREAMMAT_MODELS", "STREAMMAT_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    call("image", still, "out.png", *QUICK, "--quiet").ok()
    call("model", "list").refused(1, "no home", "HOME is not set", "STREAMMAT_MODELS")
    call("engine", "list").refused(1, "no home", "HOME is not set", "STREAMMAT_CACHE")
    call("image", still, "o.png", "--model", "~/m.onnx").refused(1, "~/m.onnx", "no such file")
    assert names(tmp_path) == ["out.png"]


def test_nested_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still: Path) -> None:
    """JSON thousands of lists deep, in the header of weights, in what they say of themselves, and in a model's card."""
    pytest.importorskip("safetensors")
    deep = "[" * 20_000
    metadata = json.dumps({"__metadata__": {"network": "lite", "ablation": deep}})
    for header in (f'{{"a":{deep}', f'{{"a":{deep}{"]" * 20_000}}}', metadata):
        (tmp_path / "deep.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
        done = call("image", still, tmp_path / "out.png", "--model", tmp_path / "deep.safetensors")
        done.refused(1, "deep.safetensors")
    monkeypatch.setenv("STREAMMAT_MODELS", str(tmp_path))
    (tmp_path / "mine").mkdir()
    for card in (f'{{"a":{deep}', f'{{"a":{"9" * 5000}}}'):
        (tmp_path / "mine/mine.json").write_text(card)
        call("model", "show", "mine").refused(1, "mine.json", "import it again")
        assert "damaged" in call("model", "list").ok().out


def test_kinds_of_images_that_are_not_read(tmp_path: Path, still: Path, clip: Path) -> None:
    """None of them is called damaged."""
    (tmp_path / "me.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200))
    (tmp_path / "me.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(200))
    kinds = {"me.heic": "HEIC", "me.exr": "OpenEXR"}
    for name, kind in kinds.items():
        call("image", tmp_path / name, tmp_path / "out.png").refused(1, name, kind, "expected PNG", "convert")
    call("video", clip, tmp_path / "out.mp4", "--bg", tmp_path / "me.heic").refused(1, "me.heic", "HEIC", "expected PNG", "convert")


def test_libraries_print_nothing_beside_the_one_line(tmp_path: Path, still: Path) -> None:
    """libpng prints to descriptor 2 by itself; who looks for a fault in a library can have that."""
    content = bytearray(still.read_bytes())
    content[-20] ^= 0xFF
    (tmp_path / "bad.png").write_bytes(content)
    words = ("image", tmp_path / "bad.png", tmp_path / "out.png", *QUICK)
    run(*words).refused(1, "bad.png", "damaged", "expected PNG")
    assert len(run(*words).err.splitlines()) == 1
    assert "libpng" in run(*words, environment={"STREAMMAT_LIBRARIES": "1"}).err


def test_bugs_and_crashes_keep_their_traces() -> None:
    for fault, told in (("1 / 0", "ZeroDivisionError"), ("__import__('os').abort()", "Fatal Python error: Aborted")):
        code = f"import click; from streammat.cli import main; main.add_command(click.Command('bug', callback=lambda: {fault})); main(['bug'])"
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
        assert done.returncode not in (0, 2)
        assert told in done.stderr
