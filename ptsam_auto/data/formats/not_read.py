"""Recognises annotation files that cannot be read, and names the export format to use instead."""

from itertools import pairwise
from pathlib import Path

from ptsam_auto.data.formats.annotation_files import PICKLED, annotation_files, kind
from ptsam_auto.data.formats.layout import Listing, relative, visible
from ptsam_auto.data.options import DEFAULT, ReadingOptions
from ptsam_auto.data.raster import is_folder, named_as_image
from ptsam_auto.errors import DatasetError, Problem

NAME = "other"
SKETCH = "files of further tools are recognised, and the export to choose is named"
BOXES = "boxes around objects, which are not masks"

# Descriptions of the files, with the export format to use instead.
KINDS = {
    "voc": f"Pascal VOC XML with {BOXES}; outline the objects with polygons and export COCO, or masks as PNG",
    "cvat-video": "CVAT for video; in CVAT export the task as COCO 1.0 or as CVAT for images 1.1",
    "coco-caption": "COCO captions, which say nothing about outlines; take the file called instances_...json",
    "coco-keypoints": "COCO keypoints without outlines; take the file called instances_...json",
    "coco-segments_info": "COCO's panoptic list; take the file called instances_...json, or its masks as PNG",
    "coco-results": "COCO results, which are predictions of a model; take the file with images and annotations",
    "via3": "a VIA 3 project; in VIA 2 export annotations as JSON, or as COCO",
    "supervisely": "Supervisely JSON; export it in the COCO format, or masks as PNG",
    "supervisely-meta": "a Supervisely project; export it in the COCO format, or masks as PNG",
    "superannotate": "SuperAnnotate JSON; export it in the COCO format",
    "darwin": "V7 Darwin JSON; export it in the COCO format",
    "datumaro": "Datumaro JSON; convert it with `datum convert -f coco_instances`",
    "labelbox": "Labelbox JSON; convert it to the COCO format, or export masks as PNG",
    "createml": f"CreateML JSON with {BOXES}; export polygons in the COCO format",
    "label-studio-min": "Label Studio's JSON-MIN; export JSON instead",
    "asap": "ASAP XML; open it in QuPath and export GeoJSON",
    "imagescope": "Aperio ImageScope XML; open it in QuPath and export GeoJSON",
    "pickled": "stored NumPy or Python objects, which are never opened (opening them can run a program); "
    "save each mask as a PNG or TIFF file",
}


def detect(folder: Path) -> bool:
    """Return whether the folder contains such files, and no file that may be a mask by its name."""
    return not _may_hold_masks(folder) and bool(_recognised(folder))


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:  # noqa: ARG001 - a Layout
    """Report the files that were recognised.

    Raises:
        DatasetError: Always.
    """
    problems = []
    for found, files in _recognised(folder).items():
        more = f" ({len(files)} such files)" if len(files) > 1 else ""
        problems.append(Problem(relative(files[0], folder), KINDS[found] + more))
    raise DatasetError(folder, problems, "Export them in this format next to their images, then run the command again.")


def _recognised(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in annotation_files(folder, ".json", ".xml", *PICKLED):
        tool = kind(file)
        if tool in KINDS:
            found.setdefault(tool, []).append(file)
    return found


def _may_hold_masks(folder: Path) -> bool:
    """Return whether some images may be masks.

    There is a folder masks/, there are two subfolders with images, or a file name starts with the name of another
    image.
    """
    found = visible(folder)
    if any(path.name.lower() in ("masks", "labelstr") or path.name.endswith("_seg.npy") for path in found):
        return True
    inner = [path for path in found if is_folder(path) and any(map(named_as_image, visible(path)))]
    stems = sorted(path.stem for path in found if path.is_file() and named_as_image(path))
    longer = any(second.startswith(first) and not second[len(first)].isalnum() for first, second in pairwise(stems))
    return len(inner) > 1 or longer
