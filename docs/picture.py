"""Make README's picture anew: an image that no training saw, the mask drawn for it, and the mask that was found.

    python docs/picture.py            # writes docs/picture.png, about two minutes on two CPU cores

Everything in it comes from the product's own commands. The images are rendered, so nobody's data is shown.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

PICTURE = Path(__file__).parent / "picture.png"
HELD_OUT = 5  # of the 24 images of the example
SIDE, GAP, CAPTION = 420, 10, 44  # px
CAPTIONS = ("image", "mask, drawn", "mask, found")


def ptsam_auto(*words: str | Path) -> None:
    """Run one of the product's commands."""
    subprocess.run([sys.executable, "-c", "from ptsam_auto.cli import main; main()", *map(str, words)], check=True)


def panel(image: np.ndarray, caption: str) -> np.ndarray:
    """An image (H W 3) with a caption above it on white."""
    above = np.full((CAPTION, SIDE, 3), 255, np.uint8)
    cv2.putText(above, caption, (2, CAPTION - 14), cv2.FONT_HERSHEY_DUPLEX, 0.8, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([above, cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)])


def main() -> None:
    """Render, hold out, fit, predict, and put three panels side by side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        example, test, specialist, overlays = (folder / part for part in ("example", "test", "specialist", "overlays"))
        ptsam_auto("example", example)
        for part in ("images", "masks"):
            (test / part).mkdir(parents=True)
            for path in sorted((example / part).iterdir())[-HELD_OUT:]:
                path.rename(test / part / path.name)
        ptsam_auto("fit", example, "--test", test, "--backbone", "nano", "--out", specialist, "--no-track")
        ptsam_auto("predict", specialist, test / "images", "--out", folder / "masks", "--overlays", overlays)
        shown = sorted((test / "images").iterdir())[0].name
        pictures = [cv2.imread(str(where / shown)) for where in (test / "images", test / "masks", overlays)]
    panels = [panel(picture, caption) for picture, caption in zip(pictures, CAPTIONS, strict=True)]
    gap = np.full((panels[0].shape[0], GAP, 3), 255, np.uint8)
    cv2.imwrite(str(PICTURE), np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1))


if __name__ == "__main__":
    main()
