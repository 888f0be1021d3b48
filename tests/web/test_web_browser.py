"""The page in a browser: Chromium, driven by Playwright, on a real run. Skipped where there is none of either.

``STREAMMAT_SCREENSHOTS=DIR`` keeps what was seen; ``STREAMMAT_AXE=axe.min.js`` also looks for what keeps people out.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import write_clip
from running import wait_for
from web_parts import PageRun, page_run

pytest.importorskip("starlette", reason="the extra web is not installed")
api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright")
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    # Playwright's own event loop and pipes are closed by its garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]
WAIT_MS = 60_000
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as playwright:
        # As root, in containers, Chromium has no sandbox of its own; these pages are ours.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "in.mp4", size=(320, 180), frames=25)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(clip: Path, data: Path) -> Iterator[PageRun]:
    (data / "recordings").mkdir()
    with page_run(clip, data, "--bg", "#0000ff", "--bg", "blur", "--bg", "green", "--recordings", data / "recordings") as running:
        yield running


@pytest.fixture(scope="module")
def entered(browser: Any, run: PageRun) -> Iterator[Any]:
    """A browser's profile that has used the link."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(run.link)
    page.wait_for_url(f"{run.origin}/")
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(entered: Any, run: PageRun) -> Iterator[Any]:
    """The page, with images; fails where anything was said on the console or asked of others."""
    with ExitStack() as undo:
        opened = entered.new_page()
        undo.callback(opened.close)
        said: list[str] = []
        asked: list[str] = []
        opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(run.origin)
        images(opened, 1)
        yield opened
        # An upload is refused with 400; the other is about this test's own looks at the canvas.
        assert [text for text in said if not re.search(r"400 \(Bad Request\)|^Canvas2D", text)] == []
        assert all(url.startswith((run.origin, f"ws://{run.host}")) for url in asked)


def images(page: Any, more: int) -> None:
    """Wait for so many more images of the preview."""
    page.evaluate("() => { document.getElementById('image').dataset.images = 0 }")
    page.wait_for_function(f"() => Number(document.getElementById('image').dataset.images) >= {more}")


def corner(page: Any) -> list[int]:
    """Red, green, blue at the preview's upper left, where the subject is not."""
    found = page.evaluate("() => [...document.getElementById('image').getContext('2d').getImageData(4, 4, 1, 1).data].slice(0, 3)")
    return list(found)


def shows(page: Any, colour: tuple[int, int, int]) -> bool:
    images(page, 1)
    return all(abs(one - other) < 40 for one, other in zip(corner(page), colour, strict=True))


def pressed(page: Any, selector: str, state: str = "true") -> None:
    api.expect(page.locator(selector)).to_have_attribute("aria-pressed", state, timeout=WAIT_MS)


def keep(page: Any, name: str) -> None:
    """A screenshot, for whoever wants to look."""
    if folder := os.environ.get("STREAMMAT_SCREENSHOTS"):
        page.screenshot(path=os.path.join(folder, f"{name}.png"), full_page=True)


def nothing_keeps_people_out(page: Any) -> None:
    if script := os.environ.get("STREAMMAT_AXE"):
        page.evaluate(Path(script).read_text(encoding="utf-8"))
        found = page.evaluate("tags => axe.run({ runOnly: tags })", WCAG)
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in found["violations"]] == []


def test_backgrounds_by_click_colour_blur_and_drop(page: Any, tmp_path: Path) -> None:
    page.get_by_role("button", name="#0000ff").click()
    wait_for(lambda: shows(page, (0, 0, 255)), 60)
    keep(page, "wide")
    page.get_by_role("button", name="green").click()
    wait_for(lambda: shows(page, (0, 177, 64)), 60)
    page.evaluate("() => { const colour = document.getElementById('colour'); colour.value = '#ff0000'; colour.dispatchEvent(new Event('change')) }")
    wait_for(lambda: shows(page, (255, 0, 0)), 60)
    pressed(page, "#backgrounds button[data-text='#ff0000']")
    page.get_by_label("Blur").fill("80")
    api.expect(page.locator("#blur-value")).to_have_text("80 %", timeout=WAIT_MS)
    pressed(page, "#backgrounds button:has(.blur)")
    data = cv2.imencode(".png", np.full((90, 160, 3), (0, 200, 255), np.uint8))[1].tobytes()
    page.evaluate(
        """bytes => {
          const moved = new DataTransfer();
          moved.items.add(new File([new Uint8Array(bytes)], "../../evil name.png", { type: "image/png" }));
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: moved, bubbles: true, cancelable: true }));
        }""", list(data),
    )
    wait_for(lambda: shows(page, (255, 200, 0)), 60)
    drawn = page.locator("#backgrounds img").count()
    page.locator("#file").set_input_files(write_clip(tmp_path / "behind.mp4", size=(160, 90), frames=5))
    api.expect(page.locator("#backgrounds img")).to_have_count(drawn + 1, timeout=WAIT_MS)
    page.wait_for_function("() => [...document.querySelectorAll('#backgrounds img')].every(image => image.complete && image.naturalWidth === 160)")
    (tmp_path / "no.png").write_text("no image")
    page.locator("#file").set_input_files(tmp_path / "no.png")
    api.expect(page.get_by_role("alert")).to_contain_text("no background that is taken", timeout=WAIT_MS)


def test_pause_mirror_and_that_the_room_takes_a_confirmation(page: Any) -> None:
    page.get_by_role("button", name="Pause").click()
    pressed(page, "#pause")
    wait_for(lambda: max(corner(page)) - min(corner(page)) < 25 or images(page, 1) is not None, 60)
    page.get_by_role("button", name="Paused").click()
    pressed(page, "#pause", "false")
    page.get_by_role("button", name="Mirror").click()
    pressed(page, "#mirror")
    page.get_by_role("button", name="Show the room").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    pressed(page, "#room", "false")
    page.get_by_role("button", name="Show the room").click()
    keep(page, "dialog")
    nothing_keeps_people_out(page)
    page.get_by_role("dialog").get_by_role("button", name="Show the room").click()
    pressed(page, "#room")
    api.expect(page.get_by_text("The room is shown to everybody")).to_be_visible(timeout=WAIT_MS)
    for _ in range(3):  # also by an image that stands in for a late one
        images(page, 1)
        assert page.evaluate("() => document.body.classList.contains('room')")
    keep(page, "room")
    page.get_by_role("button", name="Hide the room").click()
    pressed(page, "#room", "false")
    api.expect(page.get_by_text("The room is shown to everybody")).to_be_hidden(timeout=WAIT_MS)
    page.get_by_role("button", name="Mirror").click()


def test_recordings_and_streams_are_started_and_ended(page: Any, data: Path) -> None:
    """The key of a stream is typed unseen, and stands nowhere afterwards."""
    page.get_by_role("button", name="Start recording").click()
    pressed(page, "#record")
    api.expect(page.locator("#outputs")).to_contain_text(re.compile(r"streammat 20.*on, [1-9]\d* images"), timeout=WAIT_MS)
    keep(page, "recording")
    page.get_by_role("button", name="End recording").click()
    pressed(page, "#record", "false")
    api.expect(page.locator("#outputs")).to_contain_text(re.compile("streammat 20.*ended"), timeout=WAIT_MS)
    (made,) = (data / "recordings").iterdir()
    with av.open(str(made)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens
        page.get_by_role("button", name="Start stream").click()
        page.get_by_label("Address").fill(f"rtmp://127.0.0.1:{taken.getsockname()[1]}/app/")
        page.get_by_label("Key").fill("top-secret")
        assert page.get_by_label("Key").get_attribute("type") == "password"
        keep(page, "stream")
        nothing_keeps_people_out(page)
        page.keyboard.press("Enter")
        api.expect(page.get_by_role("alert")).to_contain_text("cannot be reached", timeout=WAIT_MS)
    api.expect(page.locator("#log")).to_contain_text("/app/…", timeout=WAIT_MS)
    assert "top-secret" not in page.content()
    assert page.locator("#stream-key").input_value() == ""
    page.get_by_role("button", name="Other address").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()


def test_matte_controls_change_the_run(page: Any, run: PageRun) -> None:
    def matte() -> dict[str, Any]:
        return [event for event in run.events if event["event"] == "status"][-1]["matte"]

    page.locator("summary").click()
    page.get_by_label("Feather").fill("2.5")
    page.get_by_label("Feather").dispatch_event("change")
    wait_for(lambda: matte()["feather"] == 2.5, 60)
    page.get_by_label("Take out of the subject").select_option("auto")
    wait_for(lambda: matte()["despill"] == "auto", 60)
    page.get_by_role("button", name="Back to none").click()
    wait_for(lambda: matte()["feather"] == 0 and matte()["despill"] is None, 60)
    page.locator("#quality").select_option("balanced")
    page.get_by_label("Lower it to hold").uncheck()
    wait_for(lambda: not [event for event in run.events if event["event"] == "status"][-1]["hold-rate"], 60)
    page.get_by_label("Lower it to hold").check()
    page.locator("#quality").select_option("fast")


def test_by_keyboard_alone(page: Any) -> None:
    """Everything that can be pressed is reached by Tab, in the order of the page, and the dialog gives the focus back."""
    seen: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate("() => document.activeElement.id || `of ${document.activeElement.dataset.text ?? document.activeElement.dataset.name}` || document.activeElement.tagName")
        if seen and found == seen[0]:
            break
        seen.append(found)
    order = ["pause", "mirror", "room", "file", "colour", "blur", "quality", "hold-rate", "record", "stream", "log-view", "link", "settings", "quit"]
    assert [name for name in seen if name in order] == order
    assert any(name.startswith("of #") for name in seen)  # a background
    page.locator("#room").focus()
    page.keyboard.press("Enter")
    api.expect(page.get_by_role("dialog")).to_be_visible(timeout=WAIT_MS)
    page.keyboard.press("Escape")
    assert page.evaluate("() => document.activeElement.id") == "room"
    page.locator("#pause").focus()
    page.keyboard.press("Space")
    pressed(page, "#pause")
    page.keyboard.press("Space")
    pressed(page, "#pause", "false")


@pytest.mark.parametrize(("name", "width", "scheme"), [("phone", 360, "dark"), ("dock", 250, "dark"), ("desk", 1200, "light"), ("desk-dark", 1200, "dark")])
def test_sizes_and_colours(entered: Any, run: PageRun, name: str, width: int, scheme: str) -> None:
    """No part is cut off at any width, and nothing keeps people out."""
    opened = entered.new_page()
    try:
        opened.emulate_media(color_scheme=scheme)
        opened.set_viewport_size({"width": width, "height": 800})
        opened.goto(run.origin)
        images(opened, 2)
        api.expect(opened.locator("#outputs")).to_contain_text("null", timeout=WAIT_MS)
        opened.locator("summary").click()
        assert opened.evaluate("() => document.documentElement.scrollWidth") <= width
        keep(opened, name)
        nothing_keeps_people_out(opened)
    finally:
        opened.close()


def test_a_second_browser_by_a_link_of_the_first(browser: Any, page: Any, run: PageRun) -> None:
    page.get_by_role("button", name="Link for another device").click()
    api.expect(page.locator("#dialog-text")).to_contain_text("token=", timeout=WAIT_MS)
    link = page.locator("#dialog-text").inner_text()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    context = browser.new_context()
    try:
        other = context.new_page()
        assert other.goto(run.origin).status == 401
        other.goto(link)
        other.wait_for_url(f"{run.origin}/")
        images(other, 1)
        page.get_by_role("button", name="Mirror").click()
        api.expect(other.locator("#mirror")).to_have_attribute("aria-pressed", "true", timeout=WAIT_MS)
        other.get_by_role("button", name="Mirror").click()
        pressed(page, "#mirror", "false")
    finally:
        context.close()


def test_it_finds_the_run_again_after_a_restart(browser: Any, clip: Path, data: Path) -> None:
    """At the same port, with no new link; what was saved, a file that was sent included, is as it was."""
    settings = data / "me.toml"
    settings.write_text('bg = ["green"]\n')
    orange = cv2.imencode(".png", np.full((90, 160, 3), (0, 128, 255), np.uint8))[1].tobytes()
    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    try:
        opened = context.new_page()
        with page_run(clip, data, "--config", settings) as first:
            opened.goto(first.link)
            opened.wait_for_url(f"{first.origin}/")
            images(opened, 1)
            opened.locator("#file").set_input_files({"name": "orange.png", "mimeType": "image/png", "buffer": orange})
            wait_for(lambda: shows(opened, (255, 128, 0)), 60)
            opened.get_by_role("button", name="Mirror").click()
            pressed(opened, "#mirror")
            opened.get_by_role("button", name="Save settings").click()
            api.expect(opened.get_by_role("alert")).to_contain_text("Saved in", timeout=WAIT_MS)
            with opened.expect_download() as given:
                opened.get_by_role("button", name="Download settings").click()
            assert "streammat/backgrounds" in Path(given.value.path()).read_text()
            host = first.host
            first.process.send_signal(signal.SIGTERM)
            api.expect(opened.locator("#state")).to_contain_text("trying again", timeout=WAIT_MS)
        with page_run(clip, data, "--config", settings, web=host) as second:
            assert re.search(r"token=", second.link)
            api.expect(opened.locator("#state")).to_have_text("Connected", timeout=WAIT_MS)
            images(opened, 2)
            assert shows(opened, (255, 128, 0))
            pressed(opened, "#mirror")
    finally:
        context.close()
