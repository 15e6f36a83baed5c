"""The whole review in a real browser: log-in, worklist, findings, decisions; contours lie where the edges are."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from reviewed_runs import LOGIN, NAME, PASSWORD, Reviewed, reviewed_run, sagittal

from contour.core.checksum import file_sha256
from contour.services.audit_trail import verify
from contour.services.review.serve import KEY_FILE, TRAIL_FILE, trail_key
from contour.services.review.users import USERS_FILE, add_user
from contour.services.review.viewer import PACKED_SCRIPT, pack

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
pytestmark = [
    pytest.mark.peer,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Reviewed:
    folder = tmp_path_factory.mktemp("browsed")
    reviewed_run(folder, "sagittal", sagittal)
    return reviewed_run(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    add_user(folder / USERS_FILE, LOGIN, NAME, PASSWORD)
    return folder


@pytest.fixture(scope="module")
def address(reviewed: Reviewed, home: Path) -> Iterator[str]:
    """Where `contour review` answers."""
    try:
        pack(PACKED_SCRIPT.parent)  # a checkout that was installed before there was a viewer
    except OSError as error:
        pytest.skip(f"the npm registry cannot be reached: {error}")
    arguments = ["review", reviewed.run.parent, "--series-root", reviewed.images.parent, "--home", home, "--port", "0"]
    command = [sys.executable, "-c", "from contour.cli.main import run; run()", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stderr is not None
        told = server.stderr.readline()
        found = re.search(r"http://\S+", told)
        assert found, told + server.stderr.read()
        yield found.group(0)
    finally:
        server.terminate()
        server.communicate(timeout=30)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    """A browser that has logged in; nothing that it asked for lay anywhere else, and it complained of nothing."""
    faults: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        opened.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        opened.on(
            "request",
            lambda request: faults.append(request.url) if not request.url.startswith((address, "data:")) else None,
        )
        opened.goto(address)
        log_in(opened)
        yield opened
        browser.close()
    assert [fault for fault in faults if "401" not in fault] == []  # the wrong password below


def log_in(page: Page) -> None:
    expect(page).to_have_url(re.compile("/login$"))
    page.fill("#name", LOGIN)
    page.fill("#password", "not this one")
    page.click("button")
    expect(page.locator("#message")).to_contain_text("do not go together")
    page.fill("#password", PASSWORD)
    page.click("button")
    expect(page.locator("#cases tr")).to_have_count(2)


def open_case(page: Page, name: str = "case-1") -> None:
    page.click(f"#cases a:text-is('{name}')")
    page.wait_for_selector("body[data-open]")
    page.wait_for_selector("#opening", state="hidden")
    frames(page, 3)


def frames(page: Page, count: int) -> None:
    """Wait until what was asked for has been drawn."""
    wait = "n => new Promise(r => { const f = () => n-- > 0 ? requestAnimationFrame(f) : r(); f(); })"
    page.evaluate(wait, count)


def shown(page: Page, view: str) -> NDArray[np.float64]:
    """A view as it stands on the screen, (rows, columns, 3)."""
    frames(page, 3)
    picture = page.locator(f"#view-{view}").screenshot()
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float)


def deviations_px(page: Page, view: str) -> tuple[list[float], tuple[float, float]]:
    """(how far the four sides of the heart's contour lie from the image's edges, the contour's middle as fractions)."""
    page.keyboard.press("c")
    without = shown(page, view)
    page.keyboard.press("c")
    red = shown(page, view)
    drawn = np.abs(red - without).sum(axis=2) * ((red[..., 0] > 120) & (red[..., 1] < 90))
    rows, columns = np.flatnonzero(drawn.max(axis=1) > 150), np.flatnonzero(drawn.max(axis=0) > 150)
    (top, bottom), (left, right) = (rows[0], rows[-1]), (columns[0], columns[-1])
    grey = without.mean(axis=2)
    # A quarter of the way, where no line of another view passes.
    across, down = top + (bottom - top) // 4, left + (right - left) // 4
    change = np.abs(red - without).sum(axis=2)
    found = [apart(grey[across], change[across], side) for side in (left, right)]
    found += [apart(grey[:, down], change[:, down], side) for side in (top, bottom)]
    middle = ((left + right) / 2 / red.shape[1], (top + bottom) / 2 / red.shape[0])
    return found, middle


def apart(grey: NDArray[np.float64], change: NDArray[np.float64], near: int) -> float:
    """From the place where the image turns from black to white to the middle of the contour's line, in pixels."""
    here = np.arange(near - 7, near + 8)
    crossing = np.flatnonzero(np.diff(grey[here] > 127.5))
    assert crossing.size == 1
    a, b = grey[here[crossing[0]]], grey[here[crossing[0]] + 1]
    edge = here[crossing[0]] + (127.5 - a) / (b - a)
    return float((here * change[here]).sum() / change[here].sum() - edge)


def test_contours_lie_on_the_edges_in_each_view(page: Page, address: str) -> None:
    page.goto(address)
    open_case(page)
    middles = {}
    for view in ("axial", "coronal", "sagittal"):
        found, middles[view] = deviations_px(page, view)
        assert np.abs(found).max() < 1.0, (view, found)
    # The heart lies to the left, in front and below: on the right, at the top and at the bottom of the screen.
    assert middles["axial"][0] > 0.55
    assert middles["axial"][1] < 0.52
    assert middles["coronal"][0] > 0.55
    assert middles["coronal"][1] > 0.52
    assert middles["sagittal"][0] < 0.52


def test_contours_lie_on_the_edges_of_sagittal_slices_too(page: Page, address: str) -> None:
    page.goto(address)
    open_case(page, "sagittal")
    for view in ("axial", "coronal", "sagittal"):
        found, _ = deviations_px(page, view)
        assert np.abs(found).max() < 1.0, (view, found)


def test_contours_stay_on_the_edges_when_enlarged(page: Page, address: str) -> None:
    page.goto(address)
    open_case(page)
    box = page.locator("#view-axial").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
    page.keyboard.down("Control")
    for _ in range(2):
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    found, _ = deviations_px(page, "axial")
    assert np.abs(found).max() < 1.0, found


def test_a_review_from_the_first_finding_to_the_trail(page: Page, address: str, reviewed: Reviewed, home: Path) -> None:
    page.goto(address)
    row = page.locator("#cases tr", has_text="case-1")
    expect(row).to_contain_text("Low confidence")
    expect(row.locator(".badge.open")).to_have_count(1)
    open_case(page)
    expect(page.locator("#who")).to_contain_text("Phantom Test")
    place = page.locator("#view-axial .place")
    # The urgent finding is open: its structure is selected, its first slice shown.
    expect(page.locator("#selected")).to_contain_text("Heart")
    expect(place).to_have_text("9 / 24")
    page.click("text=slice 13")
    expect(place).to_have_text("13 / 24")
    page.keyboard.press("ArrowUp")
    expect(place).to_have_text("14 / 24")
    page.keyboard.press("PageDown")
    expect(place).to_have_text("4 / 24")
    page.keyboard.press("Space")
    expect(page.locator(".finding.selected")).to_contain_text("Other objects")
    page.keyboard.press("Shift+Space")
    expect(place).to_have_text("9 / 24")
    page.keyboard.press("2")
    expect(page.locator("#window-now")).to_have_text("L -600 W 1500")
    expect(page.locator("#windows .chosen")).to_contain_text("Lung")

    page.keyboard.press("a")
    expect(page.locator("#recorded")).to_contain_text(f"accepted, {NAME}")
    page.keyboard.press("j")
    expect(page.locator("#selected")).to_contain_text("SpinalCord")
    page.keyboard.press("r")  # asks for the reason
    expect(page.locator("#comment")).to_be_focused()
    page.keyboard.type("ends too high")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#recorded")).to_contain_text("ends too high")
    page.fill("#comment", "two slices too many")
    page.click("#edit")
    expect(page.locator("#recorded")).to_contain_text("two slices too many")
    expect(page.locator("#standing")).to_contain_text("2 / 2")

    page.click("#to-worklist")
    expect(row.locator(".badge.needs-editing")).to_have_count(1)
    assert verify(home / TRAIL_FILE, trail_key(home / KEY_FILE)) == ()
    lines = [json.loads(line) for line in (home / TRAIL_FILE).read_text(encoding="utf-8").splitlines()]
    decisions = [line for line in lines if line["what"] == "reviewed"]
    assert [(d["who"], d["details"]["roi_name"], d["details"]["decision"]) for d in decisions] == [
        (LOGIN, "Heart", "accept"),
        (LOGIN, "SpinalCord", "reject"),
        (LOGIN, "SpinalCord", "needs-editing"),
    ]
    checksums = {d["details"]["rtstruct_sha256"] for d in decisions}
    assert checksums == {file_sha256(reviewed.run / "rtstruct.dcm")}


def test_what_is_hidden_is_not_drawn(page: Page, address: str) -> None:
    page.goto(address)
    open_case(page)
    eye = page.locator(".structure", has_text="Heart").locator("input")
    before = shown(page, "axial")
    eye.uncheck()
    hidden = shown(page, "axial")
    eye.check()
    again = shown(page, "axial")
    assert np.abs(before - hidden).max() > 100
    assert np.abs(before - again).max() < 10


def test_who_logs_out_is_out(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="Log out").click()  # its word comes when it listens
    expect(page).to_have_url(re.compile("/login$"))
    page.goto(address)
    expect(page).to_have_url(re.compile("/login$"))
