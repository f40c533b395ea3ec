"""GeoJSON as exported by QuPath: one file per image, polygons with holes, in pixels."""

from pathlib import Path
from typing import Any

from ptsam_auto.data.formats.annotation_files import files_of_kind, has_kind, load_json
from ptsam_auto.data.formats.collection import Collection
from ptsam_auto.data.formats.drawn import LINE, Annotated, Outline, drawing_fault
from ptsam_auto.data.formats.layout import Listing
from ptsam_auto.data.formats.outlines import Region, polygon
from ptsam_auto.data.options import DEFAULT, ReadingOptions

NAME = "geojson"
SKETCH = "NAME.geojson of QuPath beside NAME.png or NAME.tif"


def detect(folder: Path) -> bool:
    """Return whether a file is GeoJSON."""
    return has_kind(folder, NAME, ".geojson", ".json")


def read(folder: Path, options: ReadingOptions = DEFAULT) -> Listing:
    """Read one GeoJSON file per image; images without one are left out.

    Raises:
        DatasetError: The user selected a category that no file has.
    """
    collection = Collection(folder, "GeoJSON", "feature", options)
    for source in files_of_kind(folder, NAME, ".geojson", ".json"):
        content = collection.load(source, load_json)
        if content is None:
            continue
        features = _features(content)
        if features is None:
            collection.problem(source, "its features are no list; expected GeoJSON as QuPath exports it")
            continue
        file = collection.locate_own(source, source.stem)
        if file is not None:
            outlines = tuple(_outline(number, feature) for number, feature in enumerate(features, start=1))
            collection.add(Annotated(source, "", file, None, outlines))
    return collection.listing()


def _features(content: Any) -> list[Any] | None:  # noqa: ANN401 - JSON
    if isinstance(content, dict):
        content = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    return content if isinstance(content, list) else None


def _outline(number: int, feature: Any) -> Outline:  # noqa: ANN401 - JSON
    place, label = str(number), _label(feature)
    try:
        regions = _regions(feature["geometry"])
    except (KeyError, TypeError, AttributeError):
        return Outline(place, label, (), drawing_fault("it has no geometry as GeoJSON has it"))
    except ValueError as error:
        return Outline(place, label, (), drawing_fault(error))
    return Outline(place, label, tuple(filter(None, regions)), flat=None in regions)


def _label(feature: Any) -> str:  # noqa: ANN401 - JSON
    properties = feature.get("properties") if isinstance(feature, dict) else None
    found = properties.get("classification") if isinstance(properties, dict) else None
    found = found.get("name") if isinstance(found, dict) else found
    return found if isinstance(found, str) and found else "no class"


def _regions(geometry: Any) -> list[Region | None]:  # noqa: ANN401 - JSON
    kind = geometry["type"]
    if kind == "GeometryCollection":
        parts = geometry["geometries"]
        if any(part["type"] == "GeometryCollection" for part in parts):
            raise ValueError("a collection of geometries within another")
        return [region for part in parts for region in _regions(part)]
    if kind == "Polygon":
        return [polygon(geometry["coordinates"])]
    if kind == "MultiPolygon":
        return [polygon(rings) for rings in geometry["coordinates"]]
    raise ValueError(LINE if "Line" in str(kind) or "Point" in str(kind) else f"{str(kind)[:20]!r} is not known")
