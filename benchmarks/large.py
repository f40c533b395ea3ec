"""Measures the memory and the time of predicting one large image, by rows and as a whole, and compares the masks.

    OMP_NUM_THREADS=1 python benchmarks/large.py SPECIALIST --side 10000 --tile 512 --whole
    OMP_NUM_THREADS=1 python benchmarks/large.py SPECIALIST --side 30000 --tile 2048 --objects

The image is a mosaic of rendered images in a TIFF file with tiles of 512 px. Each way runs in a process of its own; the
memory is its peak, with Python, PyTorch and the specialist. The time is that of the prediction, from opening the file
to the finished mask. If the masks of both ways differ, the program fails. `--objects` separates and measures objects
in the mask, too, with labels as TIFF and OME-Zarr, tables and GeoJSON, in one more process.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WAYS = ("rows", "whole")
RENDERED = 8  # different images in the mosaic
MOSAIC, MASK = "mosaic.tif", "mosaic.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specialist", type=Path)
    parser.add_argument("--side", type=int, default=10_000, help="Side of the square image, px.")
    parser.add_argument("--tile", type=int, help="Side of a tile, px; that of the specialist by default.")
    parser.add_argument("--whole", action="store_true", help="Predict it as a whole, too.")
    parser.add_argument("--objects", action="store_true", help="Separate and measure the objects, too.")
    parser.add_argument("--folder", type=Path, help="Folder for image and masks; a temporary one by default.")
    parser.add_argument("--child", choices=["mosaic", *WAYS, "compare", "objects"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(options)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        children = ("mosaic", *WAYS, "compare") if options.whole else ("mosaic", WAYS[0])
        for child in (*children, "objects") if options.objects else children:
            words = [str(options.specialist), "--side", str(options.side), "--folder", str(folder), "--child", child]
            words += ["--tile", str(options.tile)] if options.tile else []
            # This process stays small, because on Linux the peak of a child starts at that of its parent.
            subprocess.run([sys.executable, __file__, *words], check=True)
    print(f"load {os.getloadavg()[0]:.1f}")


def run_child(options: argparse.Namespace) -> None:
    """Do one part of the measurement in this process."""
    if options.child == "mosaic":
        write_mosaic(options.folder / MOSAIC, options.side)
    elif options.child == "compare":
        compare(options.folder)
    elif options.child == "objects":
        measure_objects(options)
    else:
        measure(options)


def measure(options: argparse.Namespace) -> None:
    """Predict the mosaic, and print memory and time."""
    from ptsam_auto.data.new_images import source_of
    from ptsam_auto.specialist import large
    from ptsam_auto.specialist.artifact import load_specialist
    from ptsam_auto.specialist.masks import Destination, predict_source, reading_of

    large.LARGE = 0 if options.child == "rows" else sys.maxsize
    specialist = load_specialist(options.specialist, device="cpu", tile=options.tile)
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    source = source_of(options.folder / MOSAIC, reading_of(specialist))
    out = options.folder / options.child
    out.mkdir(exist_ok=True)
    began, used = time.perf_counter(), time.process_time()
    result = predict_source(specialist, source, Destination(out, replace=True))
    seconds, of_cpu = time.perf_counter() - began, time.process_time() - used
    assert not result.problem, result.problem
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{options.side} x {options.side} px, {'by rows' if options.child == 'rows' else 'as a whole'}: "
        f"{seconds:.0f} s ({of_cpu:.0f} s of CPU time), peak {peak / 2**20:.2f} GiB "
        f"({loaded / 2**20:.2f} GiB before the prediction)",
        flush=True,
    )


def measure_objects(options: argparse.Namespace) -> None:
    """Separate and measure the objects in the mask of the mosaic, and print memory and time."""
    from ptsam_auto.data.new_images import source_of
    from ptsam_auto.objects.results import ObjectResults
    from ptsam_auto.objects.separation import ObjectSettings

    objects = ObjectResults(options.folder / WAYS[0], ObjectSettings(100, 100), True, ("geojson", "ome-zarr"))
    began, used = time.perf_counter(), time.process_time()
    written = objects.write([source_of(options.folder / MOSAIC)])
    seconds, of_cpu = time.perf_counter() - began, time.process_time() - used
    assert not written.problems, written.problems
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{written.objects} objects ({written.cut} cut): {seconds:.0f} s ({of_cpu:.0f} s of CPU time), "
        f"peak {peak / 2**20:.2f} GiB",
        flush=True,
    )


def compare(folder: Path) -> None:
    """Exit with a message if the masks differ."""
    import numpy as np
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    by_rows, whole = (np.asarray(Image.open(folder / way / MASK)) for way in WAYS)
    if not np.array_equal(by_rows, whole):
        sys.exit("The masks differ.")
    print("The masks are equal.")


def write_mosaic(path: Path, side: int) -> None:
    """Write rendered images side by side as a TIFF file, without ever holding all of it."""
    import zlib

    import numpy as np
    import tifffile

    from ptsam_auto.data.render import EXAMPLE_SIZE, render_example

    rendered = [zlib.compress(render_example(index).image.tobytes()) for index in range(RENDERED)]
    across = -(-side // EXAMPLE_SIZE)

    def tiles() -> Iterator[bytes]:
        for row in range(across):
            for column in range(across):
                yield rendered[(3 * row + column) % RENDERED]

    size = {"shape": (side, side, 3), "tile": (EXAMPLE_SIZE, EXAMPLE_SIZE)}
    tifffile.imwrite(path, tiles(), dtype=np.uint8, photometric="rgb", compression="zlib", **size)


if __name__ == "__main__":
    main()
