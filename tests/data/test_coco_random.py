"""Random COCO files: a mask equal to an independently drawn truth, or a refusal. Nothing may crash."""

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from ptsam_auto.data.formats import coco
from ptsam_auto.errors import DatasetError
from tests.data.folders import picture, save

HEIGHT, WIDTH = 12, 16
EXAMPLES = int(os.environ.get("PTSAM_AUTO_EXAMPLES", "200"))
MARGIN = 16  # px, as the reader allows for an image of this size


@dataclass
class Truth:
    """What is certain: where foreground is, where background is, and whether the file must be refused.

    Pixels within 1 px of a polygon's outline are neither: there, ways to draw differ.
    """

    foreground: np.ndarray = field(default_factory=lambda: np.zeros((HEIGHT, WIDTH), bool))
    background: np.ndarray = field(default_factory=lambda: np.ones((HEIGHT, WIDTH), bool))
    refused: bool | None = False  # None: either is right

    def joined(self, other):
        refused = True if True in (self.refused, other.refused) else self.refused if other.refused is False else None
        return Truth(self.foreground | other.foreground, self.background & other.background, refused)


REFUSED = Truth(refused=True)


def truth_of_polygon(points):
    """Even-odd at the pixels' centres."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = np.zeros((HEIGHT, WIDTH), bool)
    certain = np.ones((HEIGHT, WIDTH), bool)
    with np.errstate(all="ignore"):
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            crossed = (y0 > rows) != (y1 > rows)
            inside ^= crossed & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
            length = (x1 - x0) ** 2 + (y1 - y0) ** 2
            share = np.clip(((columns - x0) * (x1 - x0) + (rows - y0) * (y1 - y0)) / (length or 1.0), 0, 1)
            certain &= np.hypot(columns - x0 - share * (x1 - x0), rows - y0 - share * (y1 - y0)) > 1
    return Truth(inside & certain, ~inside & certain)


def truth_of_numbers(numbers):
    plain = all(isinstance(n, int | float) and not isinstance(n, bool) and abs(n) <= 1.7e308 for n in numbers)
    if not plain or len(numbers) % 2:
        return REFUSED
    points = np.array(numbers, float).reshape(-1, 2)
    near = bool(((points >= -MARGIN) & (points <= (WIDTH + MARGIN, HEIGHT + MARGIN))).all())
    if near:
        return truth_of_polygon(points)  # without area nothing is inside
    distinct = np.unique(points, axis=0)
    with np.errstate(all="ignore"):
        scaled = (distinct - distinct[0]) / np.abs(distinct).max()
    flat = len(distinct) < 3 or np.linalg.matrix_rank(scaled, tol=1e-6) < 2
    return Truth(refused=None) if flat else REFUSED  # flat and far: skipped or refused


wild_numbers = st.one_of(
    st.floats(-5, WIDTH + 5),
    st.integers(-3, WIDTH + 3),
    st.floats(),
    st.sampled_from([3e9, -3e9, 10**400, 1e308, 2**31, -(2**31), 2**63]),
)
near_numbers = st.one_of(st.floats(-5, WIDTH + 5), st.integers(-3, WIDTH + 3))
odd_things = st.sampled_from([None, "5", True, [1], {}, float("nan"), float("inf")])


@st.composite
def polygons(draw, sound):
    kind = "near" if sound else draw(st.sampled_from(["near", "near", "wild", "odd"]))
    values = {"near": near_numbers, "wild": wild_numbers, "odd": st.one_of(near_numbers, odd_things)}[kind]
    points = draw(st.integers(3, 8))
    numbers = draw(st.lists(values, min_size=2 * points, max_size=2 * points))
    if kind == "odd" and draw(st.booleans()):
        numbers.append(1.0)
    if isinstance(numbers[0], list):
        numbers[0] = 1.0
    return [numbers], truth_of_numbers(numbers)


@st.composite
def run_lengths(draw, sound):
    bits = np.frombuffer(draw(st.binary(min_size=HEIGHT * WIDTH // 8, max_size=HEIGHT * WIDTH // 8)), np.uint8)
    mask = np.unpackbits(bits).astype(bool).reshape(HEIGHT, WIDTH)
    outline = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    compressed = outline["counts"].decode()
    size = [HEIGHT, WIDTH]
    truth = Truth(mask, ~mask)
    kinds = ["right", "plain"] if sound else ["right", "plain", "cut", "noise", "size", "plain wrong", "none"]
    kind = draw(st.sampled_from(kinds))
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    counts = np.diff([0, *edges, flat.size]).tolist()
    if kind == "right":
        return {"size": size, "counts": compressed}, truth
    if kind == "plain":
        return {"size": size, "counts": counts}, truth
    if kind == "cut":
        return {"size": size, "counts": compressed[: draw(st.integers(0, len(compressed) - 1))]}, REFUSED
    if kind == "noise":
        return {"size": size, "counts": draw(st.text(max_size=30)) + "~"}, REFUSED
    if kind == "size":
        odd = draw(st.sampled_from([[16, 12], [12], None, [10**9, 10**9], [12, 16, 1]]))
        return {"size": odd, "counts": counts}, REFUSED
    if kind == "plain wrong":
        odd = draw(st.sampled_from([1, -1, 10**30, 0.5, "1", None, True]))
        return {"size": size, "counts": [*counts, odd]}, REFUSED
    return {"size": size}, REFUSED


@st.composite
def files(draw):
    """Return a COCO file of one image and what is certain about its mask."""
    sound = draw(st.booleans())  # half of the files; of the others nearly all are refused
    drawn = draw(st.lists(st.one_of(polygons(sound), run_lengths(sound)), max_size=4))
    number = draw(st.sampled_from([0, 7, "7", "x", 3.0, -1]))
    stated = {"id": number, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}
    ids = draw(st.sampled_from(["plain", "text", "none"] if sound else ["plain", "text", "none", "twice"]))
    as_text = str(int(number)) if isinstance(number, float) else str(number)
    annotations = [
        {
            "id": {"plain": i, "text": f"n{i}", "none": None, "twice": 0}[ids],
            "image_id": draw(st.sampled_from([number, as_text])),
            "category_id": 1,
            "segmentation": outline,
        }
        for i, (outline, _) in enumerate(drawn)
    ]
    truth = Truth()
    for _, one in drawn:
        truth = truth.joined(one)
    if ids == "twice" and len(drawn) > 1:
        truth = truth.joined(REFUSED)
    if not sound and draw(st.integers(0, 9)) == 0:
        stated |= {"height": draw(st.sampled_from([0, -1, 13, 50_000, 10**30, 12.5, None, "12", True]))}
        truth = truth.joined(REFUSED)
    if not sound and draw(st.integers(0, 9)) == 0:
        annotations.append({"id": 99, "image_id": draw(st.sampled_from([None, "y", [], 1e300])), "segmentation": []})
        truth = truth.joined(REFUSED)
    return {"images": [stated], "annotations": annotations, "categories": [{"id": 1, "name": "cell"}]}, truth


def mask_or_none(folder):
    """Return the only image's mask, or None where the folder is refused."""
    try:
        listing = coco.read(folder)
        return None if listing.problems else listing.entries[0].mask.read(0)
    except DatasetError:
        return None


# A crash in C would take the whole run of tests with it: that none can happen is what is tested.
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(files())
def test_random_coco_files_are_read_right_or_refused(case):
    content, truth = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save(folder / "a.png", picture())
        (folder / "c.json").write_text(json.dumps(content))
        found = mask_or_none(folder)
    if truth.refused is not None:
        assert (found is None) == truth.refused
    if found is not None:
        assert found[truth.foreground].all()
        assert not found[truth.background].any()
