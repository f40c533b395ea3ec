"""The pages of serve and annotate in a real browser: by mouse, by keyboard alone, at two widths, light and dark."""

import json
import shutil
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn

from ptsam_auto import load_specialist
from ptsam_auto.web import server
from ptsam_auto.web.annotation import AnnotationFolder
from ptsam_auto.web.app import build
from ptsam_auto.web.boxes import Boxes
from ptsam_auto.web.fits import FitCommand
from ptsam_auto.web.pairs_folder import PairsFolder
from ptsam_auto.web.shelf import Shelf
from ptsam_auto.web.site import Site
from tests.data.folders import save as save_image
from tests.toys import sample
from tests.web.sites import pixels_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60_000  # ms
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]


@contextmanager
def serving(site, token=None):
    """A server in a thread; its address."""
    listener = server.listening("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(build(site, token=token), log_level="warning"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield server.address_of(listener, "127.0.0.1")
    finally:
        running.should_exit = True
        thread.join()
        listener.close()


def shelf(made):
    one = Shelf()
    one.add(made)
    return one


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def opened(browser, address, size="desktop", scheme="light"):
    """A page, which must neither complain nor ask for anything from elsewhere."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "phone"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong, asked = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    try:
        try:
            yield page
        finally:
            assert wrong == []  # It also says why a test fails.
        assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []
    finally:
        context.close()


def painting(folder, count=3):
    for i in range(count):
        save_image(folder / "images" / f"n{i}.png", sample(i).image)
    return AnnotationFolder(folder, 10**6)


def images(tmp_path, *numbers):
    return [str(save_image(tmp_path / "new" / f"new{i}.png", sample(i).image)) for i in numbers]


def mask_of(page):
    """The mask as the page would save it."""
    with page.expect_download() as download:
        page.click("#download")
    return pixels_of(download.value.path().read_bytes()) > 0


def place(page, x, y):
    """Where a pixel of the image (64 x 48) is on the screen."""
    box = page.locator("#canvas").bounding_box()
    scale = 0.97 * min(box["width"] / 64, box["height"] / 48)
    left, top = box["x"] + (box["width"] - scale * 64) / 2, box["y"] + (box["height"] - scale * 48) / 2
    return left + scale * x, top + scale * y


def stroke(page, *points):
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point), steps=5)
    page.mouse.up()


def counted(page):
    page.locator("#objects", has_text="object").wait_for()


def tab_to(page, name):
    """Press Tab until an element has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement.id") == name:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached")


def test_a_specialist_is_tried_corrected_saved_and_fitted_again(browser, made, tmp_path):
    specialist = load_specialist(made)
    folder = tmp_path / "corrected"
    bar = {"stage": "Training", "done": 1, "total": 4, "note": "loss 0.5"}
    program = (
        f"import shutil, sys, time; print({json.dumps(bar)!r}, flush=True); time.sleep(1.5); "
        "shutil.copytree(sys.argv[1], sys.argv[2])"
    )
    fit = FitCommand(tmp_path / "again", lambda out: [sys.executable, "-S", "-c", program, str(made), str(out)])
    with (
        serving(Site(shelf(made), training=PairsFolder(folder), fit=fit)) as address,
        opened(browser, address) as page,
    ):
        page.set_input_files("#files", images(tmp_path, 20, 21))
        counted(page)
        assert np.array_equal(mask_of(page), specialist.predict(sample(20).image))
        page.focus("#threshold")
        page.keyboard.press("Home")  # the lowest threshold
        assert np.array_equal(mask_of(page), specialist.probability(sample(20).image) > 1 / 256)
        page.fill("#threshold", "255")
        above = specialist.probability(sample(20).image) > 255 / 256
        stroke(page, (10, 10), (30, 10))
        painted = mask_of(page)
        assert painted[10, 8:32].all(), "the brush is 10 px wide"
        assert not painted[20, :].any() or above[20, :].any()
        page.keyboard.press("e")
        stroke(page, (10, 10), (20, 10))
        assert not mask_of(page)[10, 8:22].any()
        page.click("#undo")
        assert np.array_equal(mask_of(page), painted)
        page.click("#redo")
        page.keyboard.press("Control+z")
        page.click("#save")
        page.locator("#saved-as", has_text="Saved as images/new20.png and masks/new20.png").wait_for()
        assert np.array_equal(pixels_of((folder / "masks" / "new20.png").read_bytes()) > 0, painted)
        # The other image has a mask of its own, and the corrections of the first are there afterwards.
        page.click("[data-name='new21.png']")
        counted(page)
        page.fill("#threshold", "128")
        assert np.array_equal(mask_of(page), specialist.predict(sample(21).image))
        page.check("#show-uncertainty")
        page.locator("#busy").wait_for(state="hidden")
        page.click("#save")
        page.locator("#masks", has_text="2 images have a mask").wait_for()
        page.click("[data-name='new20.png']")
        counted(page)
        assert mask_of(page)[10, 8:32].all()
        page.click("#fit")
        page.locator("#fit-state", has_text="Training 1 of 4").wait_for()
        page.locator("#fit-state", has_text="again is ready").wait_for()
        assert page.input_value("#specialist") == "again"
        assert page.locator("#specialist option").all_inner_texts() == ["made", "again"]


def test_each_class_of_a_specialist_is_shown_with_corrections_of_its_own(browser, of_classes, tmp_path):
    numbers = load_specialist(of_classes).predict(sample(20).image)
    with serving(Site(shelf(of_classes), training=PairsFolder(tmp_path / "more"))) as address:
        with opened(browser, address) as page:
            page.set_input_files("#files", images(tmp_path, 20))
            page.locator("#expected", has_text="Expected").wait_for()
            assert page.locator("#class option").all_inner_texts() == ["disc", "bar"]
            assert np.array_equal(mask_of(page), numbers == 1)
            stroke(page, (10, 40), (30, 40))
            painted = mask_of(page)
            assert painted[40, 12:28].all()
            page.select_option("#class", "bar")
            page.locator("#busy").wait_for(state="hidden")
            assert np.array_equal(mask_of(page), numbers == 2)
            assert page.locator("#save").is_disabled(), "masks of one class are saved"
            page.select_option("#class", "disc")
            page.locator("#busy").wait_for(state="hidden")
            assert np.array_equal(mask_of(page), painted)
            page.select_option("#format", "geojson")
            with page.expect_download() as download:
                page.click("#download")
            places = json.loads(download.value.path().read_text())["features"]
            assert {one["properties"]["classification"]["name"] for one in places} == {"disc"}
        with opened(browser, address, "phone", "dark") as page:
            page.set_input_files("#files", images(tmp_path, 20))
            page.locator("#expected", has_text="Expected").wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"][0]


def test_a_tab_that_is_closed_loses_nothing_and_a_mask_counts_only_when_it_is_done(browser, tmp_path):
    annotation = painting(tmp_path / "cells")
    with serving(Site(Shelf(), training=annotation.pairs, annotation=annotation)) as address:
        with opened(browser, address) as page:
            page.locator("[aria-current=true]", has_text="n0.png").wait_for()
            page.locator("#done:enabled").wait_for()
            stroke(page, (10, 10), (30, 10))
            page.locator("#saved", has_text="The draft is saved").wait_for()
            painted = mask_of(page)
        assert not (tmp_path / "cells" / "masks" / "n0.png").exists()
        assert annotation.states()["n0.png"] == "draft"
        with opened(browser, address) as page:
            page.locator("#done:enabled").wait_for()
            assert np.array_equal(mask_of(page), painted)
            # A polygon around it, and a hole that is filled.
            page.click("[data-tool=polygon]")
            for corner in ((40, 10), (60, 10), (60, 40), (40, 40), (40, 10)):
                page.mouse.click(*place(page, *corner))
            page.click("[data-tool=eraser]")
            page.mouse.click(*place(page, 50, 25))
            assert not mask_of(page)[25, 50]
            page.keyboard.press("f")
            page.mouse.click(*place(page, 50, 25))
            page.mouse.click(*place(page, 20, 10))
            found = mask_of(page)
            assert found[12:38, 42:58].all(), "the hole is filled"
            assert not found[:, :35].any(), "the object that was clicked is removed"
            page.keyboard.press("d")
            page.locator("[aria-current=true]", has_text="n1.png").wait_for()
            page.locator("#message", has_text="Saved as masks/n0.png").wait_for()
    assert np.array_equal(pixels_of((tmp_path / "cells" / "masks" / "n0.png").read_bytes()) > 0, found)
    assert annotation.states() == {"n0.png": "done", "n1.png": "open", "n2.png": "open"}


def test_a_box_around_an_object_paints_it_by_mouse_and_by_keys_and_can_be_undone(browser, tmp_path):
    annotation, disc = painting(tmp_path / "cells", 1), sample(0).mask
    rows, columns = np.nonzero(disc)
    site = Site(Shelf(), training=annotation.pairs, annotation=annotation, boxes=Boxes("cpu", ("nano",)))
    with serving(site) as address, opened(browser, address) as page:
        page.locator("#done:enabled").wait_for()
        page.keyboard.press("x")
        assert page.get_attribute("[data-tool=box]", "aria-pressed") == "true"
        stroke(page, (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1))
        page.locator("#undo:enabled").wait_for()
        found = mask_of(page)
        assert 2 * (found & disc).sum() / (found.sum() + disc.sum()) > 0.9
        page.click("#undo")
        assert not mask_of(page).any()
        page.focus("#canvas")
        x, y = 32, 24  # The pointer of the keys begins in the middle.
        for column, row in ((columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)):
            for distance, keys in ((column - x, ("ArrowLeft", "ArrowRight")), (row - y, ("ArrowUp", "ArrowDown"))):
                for _ in range(abs(distance)):
                    page.keyboard.press(f"Shift+{keys[int(distance > 0)]}")
            x, y = column, row
            page.keyboard.press("Space")
        page.locator("#undo:enabled").wait_for()
        again = mask_of(page)
        assert 2 * (again & disc).sum() / (again.sum() + disc.sum()) > 0.9


def test_everything_can_be_done_with_the_keyboard_alone(browser, made, tmp_path):
    annotation = painting(tmp_path / "cells", 2)
    with (
        serving(Site(shelf(made), training=annotation.pairs, annotation=annotation)) as address,
        opened(browser, address) as page,
    ):
        counted(page)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        tab_to(page, "canvas")
        assert page.locator("#threshold").is_enabled(), "the mask was proposed"
        first = page.locator("[aria-current=true]").inner_text().split(".png")[0].strip()  # as `suggest` orders them
        page.keyboard.press("b")
        page.keyboard.press("Space")
        for _ in range(6):
            page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Space")
        page.locator("#saved", has_text="The draft is saved").wait_for()
        seen, focused = set(), []
        for _ in range(60):
            page.keyboard.press("Tab")
            name = page.evaluate(
                "[document.activeElement.id, getComputedStyle(document.activeElement).outlineStyle, "
                "parseFloat(getComputedStyle(document.activeElement).outlineWidth)]"
            )
            if name[0] in seen:
                continue
            seen.add(name[0])
            focused.append(name)
        assert {"done", "propose", "threshold", "opacity", "show-mask", "format", "download"} <= seen
        # "auto" is the ring of the browser itself, which is seen too.
        drawn = [one for one in focused if one[0] not in ("", "files") and one[1] != "auto"]
        unseen = [one for one in drawn if one[1] == "none" or one[2] < 2]
        assert unseen == [], "where the focus is can be seen"
        tab_to(page, "done")
        page.keyboard.press("Enter")
        page.locator("[aria-current=true]", has_text={"n0": "n1.png", "n1": "n0.png"}[first]).wait_for()
    mask = pixels_of((tmp_path / "cells" / "masks" / f"{first}.png").read_bytes()) > 0
    assert mask[24, 28:40].all(), "a stroke from the middle to the right"


PAGE_FACTS = """() => {
  const shown = (one) => one.checkVisibility({visibilityProperty: true, opacityProperty: true});
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const pale = [], nameless = [], small = [];
  for (const one of document.querySelectorAll("body *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (own && shown(one) && !one.closest(":disabled, .hidden, .skip, svg, noscript, option")) {
      const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
      if ((a + 0.05) / (b + 0.05) < 4.5) pale.push(one.outerHTML.slice(0, 80));
    }
    if (one.matches("button, input, select, canvas, progress, a") && shown(one) && one.id !== "files") {
      const label = one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent || one.title;
      if (!label.trim()) nameless.push(one.outerHTML.slice(0, 80));
      const box = one.getBoundingClientRect();
      if (one.matches("button, select") && box.height < 30) small.push(one.id);
    }
  }
  return {pale, nameless, small, wide: document.documentElement.scrollWidth - innerWidth};
}"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_screen_and_can_be_read(browser, made, tmp_path, size, scheme):
    annotation = painting(tmp_path / "cells")
    sites = (
        Site(shelf(made), training=PairsFolder(tmp_path / "a_folder_with_quite_a_long_name")),
        Site(shelf(made), training=annotation.pairs, annotation=annotation, boxes=Boxes("cpu", ("nano",))),
    )
    for site in sites:
        with serving(site) as address, opened(browser, address, size, scheme) as page:
            if site.annotation is None:
                page.set_input_files("#files", images(tmp_path, 20))
            counted(page)
            facts = page.evaluate(PAGE_FACTS)
            assert facts == {"pale": [], "nameless": [], "small": [], "wide": 0}, json.dumps(facts, indent=1)
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 22, 29)"
            assert dark == (scheme == "dark")
            box = page.locator("#canvas").bounding_box()
            assert box["height"] > 0.5 * SIZES[size][1], "most of the screen is for the image"
            if size == "phone" and site.annotation:
                page.touchscreen.tap(*place(page, 32, 24))
                page.locator("#saved", has_text="The draft is saved").wait_for()


def test_with_a_token_the_page_asks_for_it_once(browser, made):
    secret = "0123456789abcdef"
    with serving(Site(shelf(made)), token=secret) as address:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.fill("#token", secret)
        page.keyboard.press("Enter")
        page.locator("#about", has_text="4 images of discs").wait_for()
        page.goto(f"{address}#token={secret}")
        page.reload()
        page.locator("#about", has_text="4 images of discs").wait_for()
        assert secret not in page.url
        context.close()


def test_a_page_that_meets_an_error_says_so_and_goes_on(browser, made, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image at all")
    with serving(Site(shelf(made))) as address:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.set_input_files("#files", [str(broken)])
        page.locator("#message.bad", has_text="broken.png holds text").wait_for()
        page.set_input_files("#files", images(tmp_path, 20))
        counted(page)
        assert page.inner_text("#message") == ""
        context.close()
