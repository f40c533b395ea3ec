"""Make the picture of the page of `annotate` anew.

    python docs/screenshot.py         # writes docs/paint.jpg, a few minutes on two CPU cores; it needs Chromium

Everything in it comes from the product's own commands. The images are rendered, so nobody's data is shown.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).parent / "paint.jpg"
IMAGES, DONE = 12, 6  # images that are shown, and those of them that have a mask
SIZE = {"width": 1280, "height": 800}
PATIENCE = 120_000  # ms
PROGRAM = (sys.executable, "-c", "from ptsam_auto.cli import main; main()")


def main() -> None:
    """Render, keep some of the masks, fit for a short time, open the page, and take the picture of a proposal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = folder / "cells"
        subprocess.run([*PROGRAM, "example", str(cells)], check=True)
        for number, image in enumerate(sorted((cells / "images").iterdir())):
            if number >= IMAGES:
                image.unlink()
            if number >= DONE:
                (cells / "masks" / image.name).unlink()
        short = ["--backbone", "nano", "--folds", "2", "--no-track"]
        short += ["--set", "recipe.epochs=8", "--set", "recipe.views=2"]
        subprocess.run([*PROGRAM, "fit", str(cells), "--out", str(folder / "cells-specialist"), *short], check=True)
        words = ["annotate", str(cells), "--out", str(folder / "cells-specialist"), "--port", "0"]
        server = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            address = next(line.split()[1] for line in server.stderr if line.startswith("Open "))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                page = browser.new_page(viewport=SIZE)
                page.set_default_timeout(PATIENCE)
                page.goto(address)
                page.locator("#ranking", has_text="comes first").wait_for()
                page.click("#list li:first-child button")
                page.locator("#expected", has_text="Expected Dice").wait_for()
                page.locator("#objects", has_text="objects, median").wait_for()
                page.screenshot(path=PICTURE, type="jpeg", quality=82)
                browser.close()
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
