"""What each content shows of a frame, plane by plane, where colours and alpha are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import frame_of, matte_of

from streammat.compositing.backgrounds import open_background, parse_background
from streammat.compositing.compositor import Compositor
from streammat.config import MatteControls
from streammat.media.frame import Colour, Frame, Matte

SIZE = (48, 64)
LAYOUTS = ("yuv420p", "yuv444p10le", "gbrp", "gray")


def frame(layout: str = "yuv420p") -> Frame:
    rgb = np.full((*SIZE, 3), (180.0, 90.0, 40.0))
    rgb[:, 32:] = (40.0, 90.0, 180.0)
    return replace(frame_of(rgb, layout), colour=Colour(1, 1, 1, 1), index=5, pts=77)


def matte(of: Frame) -> Matte:
    """Nothing in the left quarter, a half in the next, all on the right."""
    alpha = np.zeros(SIZE)
    alpha[:, 16:32], alpha[:, 32:] = 0.5, 1.0
    return matte_of(alpha, of)


def drawn(contents: list[str], of: Frame, background: str | None = "#102030", **options: object) -> list[Frame]:
    behind = None if background is None else open_background(parse_background(background))
    return Compositor(contents, behind, **{"decontaminate": False, "alpha": "straight", **options})(of, matte(of))  # type: ignore[arg-type]


def shares(of: Frame) -> list[np.ndarray]:
    """Alpha at the size of each colour plane, 0..1."""
    found = []
    for plane in of.planes[: of.layout.colour_planes]:
        columns = np.arange(plane.shape[1]) * SIZE[1] // plane.shape[1]
        found.append(np.tile(np.select([columns < 16, columns < 32], [0.0, 0.5], 1.0), (plane.shape[0], 1)))
    return found


@pytest.mark.parametrize("decontaminate", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("background", ["#102030", "clip"])
def test_a_composite_is_the_mean_of_both_by_alpha(tmp_path: Path, layout: str, background: str, decontaminate: bool) -> None:
    """Exactly the background where alpha is 0 and the frame where it is full; the colour of one background and the pixels of an image are one way."""
    of = frame(layout)
    if background == "clip":
        background = str(tmp_path / "wall.png")
        cv2.imwrite(background, np.full((*SIZE, 3), (0x30, 0x20, 0x10), np.uint8))
    (made,) = drawn(["composite"], of, background, decontaminate=decontaminate)
    behind = open_background(parse_background(background)).planes(of, matte(of))
    for plane, own, back, share in zip(made.planes, of.planes, behind, shares(of), strict=True):
        inside = np.abs(np.gradient(share, axis=1)) == 0
        expected = share * own.astype(float) + (1 - share) * back
        assert np.array_equal(plane[share == 0], back[share == 0])
        assert np.array_equal(plane[share == 1], own[share == 1])
        if not decontaminate:
            assert np.abs(plane - expected)[inside].max() <= 1
        assert not np.shares_memory(plane, own)


@pytest.mark.parametrize("decontaminate", [False, True])
def test_images_say_what_the_frame_says(decontaminate: bool) -> None:
    of = frame()
    for content in ("composite", "transparent", "foreground"):
        (made,) = drawn([content], of, decontaminate=decontaminate)
        assert (made.pts, made.index, made.time_base, made.duration, made.layout, made.colour) == (77, 5, of.time_base, of.duration, of.layout, of.colour)
        image = made.image
        assert (image.width, image.height, image.format.name) == (64, 48, "yuv420p")
        assert (int(image.colorspace), int(image.color_primaries), int(image.color_trc), int(image.color_range)) == (1, 1, 1, 1)
        assert image is not of.image


def test_contents_come_in_their_order_and_once() -> None:
    of = frame()
    made = drawn(["matte", "composite", "foreground", "composite", "transparent"], of)
    assert made[0] is of
    assert made[1] is made[3]
    assert len({id(each) for each in made}) == 4
    single = [drawn([content], of)[0] for content in ("matte", "composite", "foreground", "composite", "transparent")]
    for one, other in zip(made, single, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def test_the_foreground_is_the_frame_s_colour_everywhere() -> None:
    of = frame()
    (made,) = drawn(["foreground"], of, None)
    assert all(np.array_equal(plane, own) and plane is not own for plane, own in zip(made.planes, of.planes, strict=True))
    (clean,) = drawn(["foreground"], of, None, decontaminate=True)
    for plane, own, share in zip(clean.planes, of.planes, shares(of), strict=True):
        assert np.array_equal(plane[(share == 0) | (share == 1)], own[(share == 0) | (share == 1)])
    assert np.abs(clean.planes[0][:, 20:28].astype(int) - of.planes[0][:, 20:28]).max() > 3  # what was behind is taken out


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transparent_colour_is_kept_near_the_subject_and_multiplied_where_that_is_asked_for(layout: str) -> None:
    of = frame(layout)
    (straight,) = drawn(["transparent"], of, None)
    (multiplied,) = drawn(["transparent"], of, None, alpha="premultiplied")
    for index, (plane, own) in enumerate(zip(straight.planes, of.planes, strict=True)):
        black = of.black if of.layout.rgb or index == 0 else 1 << (of.layout.depth - 1)
        step = SIZE[1] // plane.shape[1]
        assert np.array_equal(plane[:, 8 // step + 1 :], own[:, 8 // step + 1 :])  # 8 pixels beyond the first that is not empty
        assert (plane[:, : 8 // step] == black).all()
        by_alpha = multiplied.planes[index]
        assert (by_alpha[:, : 16 // step - 1] == black).all()
        assert np.array_equal(by_alpha[:, 32 // step :], own[:, 32 // step :])
        half = slice(16 // step + 1, 32 // step - 1)
        assert np.abs(by_alpha[:, half] - (own[:, half].astype(float) + black) / 2).max() <= 1


def test_despill_takes_a_colour_out_of_every_content_that_shows_it() -> None:
    rgb = np.full((*SIZE, 3), (0.0, 177.0, 64.0))  # green as it is called here
    of = frame_of(rgb, "yuv444p")
    for content in ("composite", "transparent", "foreground"):
        for decontaminate in (False, True):
            (plain,) = drawn([content], of, decontaminate=decontaminate)
            (made,) = drawn([content], of, decontaminate=decontaminate, controls=MatteControls(despill="green"))
            green = made.planes[1][24, 50].astype(int) - 128, made.planes[2][24, 50].astype(int) - 128
            assert max(map(abs, green)) <= 3, (content, decontaminate)
            assert plain.planes[1][24, 50] < 110
            assert made.planes[0][24, 50] == plain.planes[0][24, 50]  # luma stays


def test_a_background_is_asked_for_where_it_is_shown_alone() -> None:
    class Asked:
        def __init__(self) -> None:
            self.given: list[tuple[Frame, Matte]] = []

        def planes(self, of: Frame, shown: Matte):
            self.given.append((of, shown))
            return tuple(np.zeros_like(plane) for plane in of.planes)

        def close(self) -> None: ...

    for contents, count in ((["composite", "composite"], 1), (["matte", "foreground", "transparent"], 0)):
        for decontaminate in (False, True):
            asked, of = Asked(), frame()
            alpha = matte(of)
            Compositor(contents, asked, decontaminate=decontaminate, alpha="straight")(of, alpha)  # type: ignore[arg-type]
            assert len(asked.given) == count
            assert all(one is of and other is alpha for one, other in asked.given)
