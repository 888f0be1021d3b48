"""The set builder: a reason for every rejection, a stable split, and second calls that continue."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from streammat.engines.shipped import shipped
from streammat.train.__main__ import main
from streammat.train.cli.data.backgrounds import command as backgrounds_command
from streammat.train.errors import DataError
from streammat.train.rssn.backgrounds import BackgroundOptions, Measured, build_backgrounds, judge, subject_share

SIDE = 60


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that takes pure green for a subject."""
    nodes = [
        helper.make_node("Slice", ["rgb", "starts", "ends", "axes", "steps"], ["green"]),
        helper.make_node("Squeeze", ["green", "last"], ["plane"]),
        helper.make_node("Cast", ["plane"], ["level"], to=TensorProto.FLOAT),
        helper.make_node("Greater", ["level", "limit"], ["found"]),
        helper.make_node("Cast", ["found"], ["alpha"], to=TensorProto.FLOAT),
    ]
    integers = {"starts": [0, 0, 1], "ends": [99999, 99999, 2], "axes": [1, 2, 3], "steps": [2, 2, 1], "last": [3]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in integers.items()]
    constants.append(helper.make_tensor("limit", TensorProto.FLOAT, [], [200.0]))
    rgb = helper.make_tensor_value_info("rgb", TensorProto.UINT8, ["batch", "height", "width", 3])
    alpha = helper.make_tensor_value_info("alpha", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "green", [rgb], [alpha], constants)
    path = tmp_path_factory.mktemp("model") / "green.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def room(seed: int, height: int = SIDE + 20, width: int = SIDE + 40) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 150, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[:, :, ::-1])


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """20 rooms, the same room smaller, a subject, one that is too small, and two that are broken."""
    folder = tmp_path / "photographs"
    for number in range(20):
        write(folder / f"deep/er/room{number:02}.png", room(number))
    write(folder / "zoomed.jpg", cv2.resize(room(3), (SIDE + 30, SIDE + 15), interpolation=cv2.INTER_AREA))
    subject = room(30)
    subject[20:60, 20:70] = (0, 255, 0)
    write(folder / "subject.png", subject)
    write(folder / "little.png", room(31, SIDE - 1, 200))
    (folder / "empty.jpg").touch()
    (folder / "text.png").write_text("not an image")
    (folder / "notes.txt").touch()
    return folder


def options(**changes: float) -> BackgroundOptions:
    return BackgroundOptions(min_side=SIDE, **changes)  # type: ignore[arg-type]


def manifest(out: Path) -> dict[str, dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return {row["picture"]: row for row in csv.DictReader(file)}


def test_every_rejection_has_its_reason(photographs: Path, model: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "set", []
    build_backgrounds([photographs], out, options(), model, 0, lines.append)
    rows = manifest(out)
    assert len(rows) == 25
    reasons = {name.removeprefix("photographs/"): row["reason"] for name, row in rows.items() if row["reason"]}
    assert reasons.pop("subject.png").startswith("subject covers 2")
    assert reasons.pop("little.png") == f"too small: 200x{SIDE - 1}"
    assert reasons.pop("zoomed.jpg").startswith("duplicate of photographs/deep/er/room03.png at distance ")
    assert "is empty (0 bytes)" in reasons.pop("empty.jpg")
    assert "cannot be decoded" in reasons.pop("text.png")
    assert not reasons
    kept = {row["file"] for row in rows.values() if row["file"]}
    assert kept == {path.relative_to(out).as_posix() for path in out.glob("*/*.jpg")}
    assert {name.split("/")[0] for name in kept} == {"train", "testval"}
    for name in kept:
        image = cv2.imread(str(out / name))
        assert image.shape == (SIDE, 75, 3)
        assert f"{image.shape[1]}x{image.shape[0]}" == rows[f"photographs/{Path(name).stem[12:].replace('_', '/')}.png"]["size"]
    assert (out / "kept.png").exists()
    assert (out / "rejected.png").exists()


def test_a_second_call_continues_and_a_new_limit_needs_no_new_look(photographs: Path, model: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "set", []
    build_backgrounds([photographs], out, options(), model, 0, lines.append)
    first = {path: path.stat().st_mtime_ns for path in out.glob("*/*.jpg")}
    min(first).unlink()
    lines.clear()
    build_backgrounds([photographs], out, options(), model, 0, lines.append)
    assert "measuring: 2 of 25 images to do" in lines, "only those that cannot be read are tried again"
    assert first.keys() == set(out.glob("*/*.jpg"))
    assert sum(path.stat().st_mtime_ns == stamp for path, stamp in first.items()) == len(first) - 1

    build_backgrounds([photographs], out, options(subject=0.5, validation=0.0), model, 0, lines.append)
    assert not list((out / "testval").iterdir())
    assert (out / "train/photographs_subject.jpg").exists()
    assert len(list((out / "train").iterdir())) == 21
    write(photographs / "deep/er/room00.png", room(99))
    lines.clear()
    build_backgrounds([photographs], out, options(), model, 0, lines.append)
    assert "measuring: 3 of 25 images to do" in lines


def measured(width: int, height: int, fingerprint: int, subject: float = 0.0) -> Measured:
    return Measured("", width, height, f"{fingerprint:016x}", subject)


def test_near_means_at_most_the_distance() -> None:
    found = {"a": measured(2000, 1080, 0), "b": measured(1080, 3000, 0b111), "c": measured(1080, 1080, 0b1111)}
    reasons = [verdict.reason for verdict in judge(found, {}, BackgroundOptions(distance=3))]
    assert reasons == ["", "duplicate of a at distance 3", ""]
    assert not any(verdict.reason for verdict in judge(found, {}, BackgroundOptions(distance=0)))
    # what is rejected for another reason makes no duplicate of others
    found["a"] = measured(2000, 1080, 0, subject=0.3)
    assert [verdict.reason for verdict in judge(found, {}, BackgroundOptions(distance=3))] == [
        "subject covers 30.0 %",
        "",
        "duplicate of b at distance 1",
    ]


def test_split_is_stable_and_a_quarter() -> None:
    rng = np.random.default_rng(0)
    found = {f"{number:04}": measured(1080, 1080, int(rng.integers(2**63))) for number in range(2000)}
    splits = {verdict.picture: verdict.split for verdict in judge(found, {}, BackgroundOptions(distance=0))}
    assert 0.22 < sum(split == "testval" for split in splits.values()) / 2000 < 0.28
    fewer = dict(list(found.items())[::7])
    for verdict in judge(fewer, {}, BackgroundOptions(distance=0)):
        assert verdict.split == splits[verdict.picture]
    other = judge(found, {}, BackgroundOptions(distance=0, seed=1))
    assert [verdict.split for verdict in other] != list(splits.values())


def test_subject_share_is_measured_in_every_shape(model: Path) -> None:
    for height, width in ((90, 160), (100, 100), (160, 90)):
        image = np.zeros((height, width, 3), np.uint8)
        image[: height // 4, :, 1] = 255
        assert abs(subject_share(image, model) - 0.25) < 0.01


def test_the_shipped_network_finds_no_subject_on_a_plain_wall() -> None:
    model = shipped().fp32
    assert subject_share(np.full((288, 512, 3), 180, np.uint8), model) < 0.02


def test_what_cannot_be_built(photographs: Path, model: Path, tmp_path: Path) -> None:
    def build(*sources: Path) -> None:
        build_backgrounds(sources, tmp_path / "set", options(), model, 0, lambda _line: None)

    with pytest.raises(DataError, match="does not exist"):
        build(tmp_path / "none")
    (tmp_path / "bare").mkdir()
    with pytest.raises(DataError, match="no images in"):
        build(tmp_path / "bare")
    write(photographs / "text.jpg", room(5))
    with pytest.raises(DataError, match=r"text\.jpg and .*text\.png would both become photographs_text\.jpg"):
        build(photographs)


def test_command(photographs: Path, model: Path, tmp_path: Path) -> None:
    command = ["backgrounds", str(photographs), "--out", str(tmp_path / "set"), "--model", str(model), "--workers", "1"]
    result = CliRunner().invoke(main, [*command, "--min-side", str(SIDE)])
    assert result.exit_code == 0, result.output
    assert "kept 20 of 25: " in result.output
    assert "rejected 2: cannot be read" in result.output
    result = CliRunner().invoke(main, [*command, "--min-side", "500"])
    assert result.exit_code == 1
    assert "train: error: no image was kept" in result.output
    result = CliRunner().invoke(main, [*command[:-4], "--model", str(tmp_path / "none.onnx")])
    assert result.exit_code == 1
    assert "cannot read model file" in result.output


def test_defaults_have_one_value() -> None:
    defaults = {option.name: option.default for option in backgrounds_command.params}
    for name, value in vars(BackgroundOptions()).items():
        assert defaults[name] == value
