"""Opens annotation files of other tools safely, and recognises the tool by the content.

JSON may have a byte order mark; too deeply nested or otherwise malicious files raise a DatasetError. XML is read
without entities. Pickle files are never opened.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ptsam_auto.data.formats.layout import visible
from ptsam_auto.data.raster import is_folder
from ptsam_auto.errors import DatasetError, Problem
from ptsam_auto.files import read_bytes, read_utf8
from ptsam_auto.yaml_text import parse_yaml

PLACES = ("annotations", "annotation", "ann", "images", "image", "img", "labels", "json", "jsons", "xml", "rois")
NOT_ANNOTATIONS = ("dataset.json", "splits.json")
MOST_BYTES = 500_000_000  # of one file; COCO's largest has 450 MB
MOST_BYTES_OF_SETTINGS = 2_000_000  # of a YAML file
PICKLED = (".npy", ".npz", ".pkl", ".pickle")


def annotation_files(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files with one of these suffixes, in the folder and in its usual subfolders of annotations.

    Args:
        folder: The user's folder.
        suffixes: Suffixes in lower case, such as ".json".

    Raises:
        DatasetError: The folder cannot be opened.
    """
    found = visible(folder)
    inner = [path for path in found if path.name.lower() in PLACES and is_folder(path)]
    files = [*found, *(file for place in inner for file in visible(place))]
    return [
        file
        for file in files
        if file.suffix.lower() in suffixes and file.name.lower() not in NOT_ANNOTATIONS and not is_folder(file)
    ]


def load_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """Return the content of a JSON file.

    Raises:
        DatasetError: The file cannot be opened, or is not JSON.
    """
    try:
        return json.loads(read_utf8(path, MOST_BYTES))
    except OSError as error:
        what = f"cannot be opened: {error.strerror}"
    except UnicodeDecodeError as error:
        what = f"not valid JSON: not UTF-8 text (byte {error.start})"
    except ValueError as error:
        what = f"not valid JSON: {error}"
    except RecursionError:
        what = "not valid JSON: too deeply nested"
    raise DatasetError(path.parent, [Problem(path.name, what)])


def load_yaml(path: Path) -> Any:  # noqa: ANN401 - YAML
    """Return the content of a YAML file; see `yaml_text.parse_yaml`.

    Raises:
        ValueError: The file is too large, is not UTF-8, or is not YAML.
        OSError: The file cannot be opened.
    """
    return parse_yaml(read_utf8(path, MOST_BYTES_OF_SETTINGS))


def load_xml(path: Path) -> Element:
    """Return the root element of an XML file; entities and external references are rejected.

    Raises:
        DatasetError: The file cannot be opened, is not XML, or declares entities.
    """
    try:
        root: Element = fromstring(read_bytes(path, MOST_BYTES))
        return root
    except OSError as error:
        what = f"cannot be opened: {error.strerror}"
    except DefusedXmlException:
        what = "declares XML entities, which can stand for anything; expected plain XML"
    except (ParseError, ValueError, LookupError) as error:
        what = f"not valid XML: {error}"
    except RecursionError:
        what = "not valid XML: too deeply nested"
    raise DatasetError(path.parent, [Problem(path.name, what)])


def has_kind(folder: Path, wanted: str, *suffixes: str) -> bool:
    """Return whether the folder contains a file of a kind."""
    return any(kind(file) == wanted for file in annotation_files(folder, *suffixes))


def files_of_kind(folder: Path, wanted: str, *suffixes: str) -> list[Path]:
    """Return the annotation files of a kind."""
    return [file for file in annotation_files(folder, *suffixes) if kind(file) == wanted]


def size_of(content: Any, height: str, width: str) -> tuple[int, int] | None:  # noqa: ANN401 - JSON
    """Return a stated size (H W) if both numbers exist and are whole numbers, otherwise None."""
    values = (content.get(height), content.get(width))
    if all(type(value) is int for value in values):
        return values
    return None


def kind(path: Path) -> str | None:
    """Return the tool that wrote the file, such as "coco", or None if it is unknown; each file is opened once."""
    suffix = path.suffix.lower()
    if suffix in PICKLED:
        return "pickled"
    try:
        state = path.stat()
    except OSError:
        return None
    return _kind(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=65536)
def _kind(path: Path, changed_ns: int, size: int) -> str | None:  # noqa: ARG001 - a file that changed is opened again
    if path.suffix.lower() in (".json", ".geojson"):
        try:
            return _kind_of_json(load_json(path))
        except DatasetError:
            return _kind_of_broken_json(path)
    if path.suffix.lower() == ".xml":
        try:
            return _kind_of_xml(load_xml(path))
        except DatasetError:
            return _kind_of_broken_xml(path)
    if path.suffix.lower() == ".csv":
        return "via" if "region_shape_attributes" in _beginning(path) else None
    return None


def _kind_of_json(content: Any) -> str | None:  # noqa: ANN401 - JSON; one line per tool
    if isinstance(content, list):
        return _kind_of_list(content)
    if not isinstance(content, dict):
        return None
    if isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list):
        return _kind_of_coco(content["annotations"])
    if isinstance(content.get("shapes"), list) and "imagePath" in content:
        return "labelme"
    if "_via_img_metadata" in content or _is_via(content):
        return "via"
    if content.get("type") in ("FeatureCollection", "Feature"):
        return "geojson"
    return next((tool for tool, keys in BY_KEYS.items() if all(key in content for key in keys)), None)


# Keys of the JSON files of other tools that are recognised but not read.
BY_KEYS = {
    "via3": ("project", "config", "metadata"),
    "supervisely": ("size", "objects", "tags"),
    "supervisely-meta": ("classes", "projectType"),
    "superannotate": ("metadata", "instances"),
    "darwin": ("item", "annotations"),
    "datumaro": ("items", "categories"),
}


def _kind_of_list(content: list[Any]) -> str | None:
    first = content[0] if content else None
    if not isinstance(first, dict):
        return None
    if isinstance(first.get("data"), dict) and ("annotations" in first or "completions" in first):
        return "label-studio"
    if "geometry" in first and first.get("type") == "Feature":
        return "geojson"
    if "image_id" in first and "category_id" in first:
        return "coco-results"
    if "data_row" in first:
        return "labelbox"
    if "image" in first and isinstance(first.get("annotations"), list):
        return "createml"
    if any(isinstance(value, list) and value and _is_label_studio_min(value[0]) for value in first.values()):
        return "label-studio-min"
    return None


def _is_label_studio_min(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, dict) and "original_width" in value


def _kind_of_coco(annotations: list[Any]) -> str:
    """Return "coco", or the name of the COCO variant without outlines."""
    dicts = [annotation for annotation in annotations if isinstance(annotation, dict)]
    if not dicts or any(annotation.get("segmentation") for annotation in dicts):
        return "coco"
    for key in ("caption", "segments_info", "keypoints"):
        if all(key in annotation for annotation in dicts):
            return f"coco-{key}"
    return "coco"


def _is_via(content: dict[str, Any]) -> bool:
    values = list(content.values())[:5]
    return bool(values) and all(isinstance(v, dict) and "filename" in v and "regions" in v for v in values)


def _kind_of_broken_json(path: Path) -> str | None:
    """Return the probable tool of a damaged file, so that the message names its damage and not an unknown layout."""
    text = _beginning(path)
    if '"images"' in text or '"annotations"' in text:
        return "coco"
    if '"shapes"' in text:
        return "labelme"
    return "geojson" if '"FeatureCollection"' in text else None


def _kind_of_broken_xml(path: Path) -> str | None:
    text = _beginning(path)
    return "cvat" if "<annotations" in text else "voc" if "<annotation" in text else None


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(65536).decode(errors="replace")
    except OSError:
        return ""


def _kind_of_xml(root: Element) -> str | None:
    if root.tag == "annotations":
        return "cvat-video" if root.find("track") is not None else "cvat"
    if root.tag == "annotation":
        return "voc"
    return {"ASAP_Annotations": "asap", "Annotations": "imagescope"}.get(root.tag)
