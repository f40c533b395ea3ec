"""ImageJ itself opens labels and outlines. It is Debian's package `imagej`, with `xvfb` for its windows."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ptsam_auto.data.raster import Pages
from ptsam_auto.objects.exports import rois_of, write_rois
from ptsam_auto.objects.label_files import write_labels
from ptsam_auto.objects.measures import Page
from ptsam_auto.objects.pixel_size import PixelSize
from ptsam_auto.objects.separation import NOT_LEARNED, separated
from tests.objects.test_in_bands import blobs

IMAGEJ = Path("/usr/share/java/ij.jar")
MACRO = """
open("FOLDER/labels.tif");
getPixelSize(unit, width, height);
said = "FOLDER/said.txt";
File.append(getWidth() + " " + getHeight() + " " + nSlices + " " + bitDepth() + " " + width + " " + height, said);
roiManager("Open", "FOLDER/rois.zip");
for (i = 0; i < roiManager("count"); i++) {
  roiManager("select", i);
  getRawStatistics(pixels, mean, least, most);
  File.append(getSliceNumber() + " " + pixels + " " + least + " " + most, said);
}
run("Quit");
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not IMAGEJ.exists() or not shutil.which("java") or not shutil.which("xvfb-run"), reason="ImageJ is not installed"
)
def test_imagej_sees_each_object_where_it_is(tmp_path):
    pages = [separated(blobs(seed, share=0.2) > 0, NOT_LEARNED) for seed in range(3)]
    write_labels(tmp_path / "labels.tif", pages, Pages("Z", (3,)), PixelSize(0.5, 0.25))
    rois = [roi for number, page in enumerate(pages, start=1) for roi in rois_of(Page("a", page), number)]
    write_rois(tmp_path / "rois.zip", rois)
    (tmp_path / "macro.ijm").write_text(MACRO.replace("FOLDER", str(tmp_path)))
    call = ["xvfb-run", "-a", "java", "-cp", str(IMAGEJ), "ij.ImageJ", "-batch", str(tmp_path / "macro.ijm")]
    subprocess.run(call, check=True, timeout=120, capture_output=True)

    first, *found = [line.split() for line in (tmp_path / "said.txt").read_text().splitlines()]
    height, width = pages[0].shape
    assert first == [str(width), str(height), "3", "16", "0.5", "0.25"]
    expected = [
        [place, np.count_nonzero(page == number), number, number]
        for place, page in enumerate(pages, start=1)
        for number in range(1, page.max() + 1)
    ]
    assert len(found) == len(expected) > 100
    same = [list(map(int, seen)) == known for seen, known in zip(found, expected, strict=True)]
    assert np.mean(same) > 0.9, "all but the objects with holes, which an outline has not"
