"""What a microscope's script gets from the API, and what a user is told about images that cannot be used."""

import base64
import io
import json
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from pycocotools import mask as coco

from ptsam_auto import load_specialist
from ptsam_auto.data.formats.run_lengths import counts_of
from ptsam_auto.metrics.classes import decided
from ptsam_auto.specialist.uncertainty import assess
from ptsam_auto.web.answers import in_steps
from tests.toys import sample
from tests.web.sites import client, pixels_of, png

IMAGE = sample(20).image


@pytest.fixture(scope="module")
def opened(made):
    with client(made) as opened:
        yield opened


@pytest.fixture(scope="module")
def specialist(made):
    return load_specialist(made, folds=True)


def predict(opened, image=None, name="a.png", **asked):
    return opened.post("/api/predict", params=asked, files={"image": (name, png(IMAGE) if image is None else image)})


def test_the_mask_is_that_of_predict(opened, specialist):
    answer = predict(opened)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'attachment; filename="a.png"'
    mask = specialist.predict(IMAGE)
    assert mask.any(), "or this would compare nothing"
    assert np.array_equal(pixels_of(answer.content), mask * 255)
    higher = pixels_of(predict(opened, threshold=0.9).content)
    assert np.array_equal(higher > 0, specialist.probability(IMAGE) > 0.9)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools
def test_run_lengths_are_those_of_coco(opened, specialist):
    answer = predict(opened, answer="rle").json()
    assert np.array_equal(coco.decode(answer), specialist.predict(IMAGE))


def test_every_file_form_holds_the_objects(opened, specialist):
    probability = specialist.probability(IMAGE)
    # The toy finds specks, which are too small for objects; at this threshold everything is foreground.
    asked = {"threshold": float(probability.min() / 2)}
    labels = tifffile.imread(io.BytesIO(predict(opened, answer="labels", **asked).content))
    assert (labels.shape, labels.dtype) == (probability.shape, np.uint16)
    count = labels.max()
    assert count >= 1
    found = tifffile.imread(io.BytesIO(predict(opened, answer="probability").content))
    assert np.allclose(found, probability)
    assert len(json.loads(predict(opened, answer="geojson", **asked).content)["features"]) == count
    assert len(zipfile.ZipFile(io.BytesIO(predict(opened, answer="imagej", **asked).content)).namelist()) == count
    assert len(json.loads(predict(opened, answer="coco", **asked).content)["annotations"]) == count
    table = predict(opened, answer="csv", **asked).text.splitlines()
    assert len(table) == count + 1
    assert "area_px" in table[0]


def test_the_page_gets_probability_uncertainty_and_expected_dice(opened, specialist):
    about = predict(opened, answer="view", uncertainty=True).json()
    shape = about["height"], about["width"]
    found = np.frombuffer(zlib.decompress(base64.b64decode(about["probability"])), np.uint8).reshape(shape)
    expected = assess(specialist, IMAGE)
    assert np.array_equal(found >= 128, expected.mask), "half of the slider is the mask of predict"
    unsure = np.frombuffer(zlib.decompress(base64.b64decode(about["uncertainty"])), np.uint8).reshape(shape)
    assert np.abs(unsure / 510 - expected.uncertainty).max() < 0.002
    assert about["expected_dice"] == pytest.approx(expected.expected_dice, abs=1e-4)
    assert np.array_equal(pixels_of(base64.b64decode(about["image"])), IMAGE)
    assert predict(opened, answer="view").json()["uncertainty"] is None


def test_each_step_of_the_slider_is_a_threshold_of_predict():
    probability = np.linspace(0, 1, 5003, dtype=np.float32)
    for step in (1, 2, 100, 128, 255):
        assert np.array_equal(in_steps(probability) >= step, probability > step / 256)


def test_a_page_of_a_stack_is_predicted_and_its_pixel_size_is_known(opened, specialist):
    stack = np.stack([sample(i).image[..., 0] for i in range(5)])
    buffer = io.BytesIO()
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    metadata |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(buffer, stack, ome=True, metadata=metadata)
    about = predict(opened, buffer.getvalue(), "s.ome.tif", page=3, answer="view").json()
    assert (about["name"], about["pages"]) == ("s.ome_p003", 5)
    assert about["pixel_size"] == {"width": 0.5, "height": 0.5}
    mask = pixels_of(predict(opened, buffer.getvalue(), "s.ome.tif", page=3).content)
    assert np.array_equal(mask > 0, specialist.predict(stack[3]))
    answer = predict(opened, buffer.getvalue(), "s.ome.tif", page=5)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "s.ome.tif has 5 pages; page 5 is asked for, and the first is page 0"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"hello, no image", "holds text"),
        (png(IMAGE)[:300], "damaged, cut short"),
    ],
)
def test_what_is_no_image_is_said_without_a_path_of_the_server(opened, content, what):
    answer = predict(opened, content, "../../etc/a.png")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"a.png {what}")


def test_an_image_with_a_strange_ending_is_read_by_its_content(opened):
    assert predict(opened, png(IMAGE), "microscope.dat").status_code == 200
    assert predict(opened, png(IMAGE), "..").status_code == 200


def test_a_specialist_that_is_not_there_is_named_with_those_that_are(opened):
    answer = predict(opened, specialist="other")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no specialist other. There are: made."
    assert predict(opened, specialist="made").status_code == 200


def test_objects_of_a_corrected_mask_are_counted_and_written(opened):
    mask = np.zeros((60, 80), bool)
    mask[5:25, 5:25] = mask[30:50, 40:70] = True
    counts = [0, *np.diff(np.flatnonzero(np.diff(mask.T.ravel().astype(int), prepend=2, append=2))).tolist()][1:]
    runs = json.dumps({"size": [60, 80], "counts": counts}).encode()
    assert counts_of(counts, 4800).sum() == 4800
    for content in (png(mask), runs, json.dumps(
        {"size": [60, 80], "counts": coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()}
    ).encode()):  # fmt: skip
        sizes = {"smallest": 0, "pixel_width": 0.5, "pixel_height": 2}
        about = opened.post("/api/objects", params=sizes, files={"mask": content}).json()
        assert (about["objects"], sorted(about["areas_px"])) == (2, [400, 600])
        assert sorted(about["areas_um2"]) == [400, 600]
        assert about["touching_border"] == 0
    named = opened.post("/api/objects", params={"answer": "mask", "name": "../x/b.tif"}, files={"mask": runs})
    assert named.headers["content-disposition"] == 'attachment; filename="b.png"'
    assert np.array_equal(pixels_of(named.content) > 0, mask)


@pytest.mark.parametrize(
    ("runs", "what"),
    [
        ({"size": [2, 2], "counts": [1]}, "add up to 1 px, but its size has 4 px"),
        ({"size": [2, 2], "counts": [-4, 8]}, "not whole numbers between 0 and 4"),
        ({"size": [0, 2], "counts": []}, "its size is 0 x 2"),
        ({"size": [2], "counts": []}, "size"),
        ({"size": [10**9, 10**9], "counts": "x"}, "this server takes at most 36 million pixels"),
        ({"counts": [4]}, "size: Field required"),
        ([], "text"),
    ],
)
def test_wrong_run_lengths_are_a_message(opened, runs, what):
    answer = opened.post("/api/objects", files={"mask": json.dumps(runs).encode()})
    assert answer.status_code == 422
    assert what in answer.json()["detail"]


def test_a_blank_and_a_full_mask_have_objects_too(opened):
    blank = opened.post("/api/objects", files={"mask": png(np.zeros((20, 20), bool))}).json()
    assert (blank["objects"], blank["areas_px"]) == (0, [])
    for answer in ("labels", "geojson", "imagej", "coco", "csv", "mask", "rle"):
        sent = opened.post("/api/objects", params={"answer": answer}, files={"mask": png(np.zeros((20, 20), bool))})
        assert sent.status_code == 200, (answer, sent.text)
    runs = json.dumps({"size": [20, 20], "counts": [0, 400]}).encode()
    assert opened.post("/api/objects", files={"mask": runs}).json()["areas_px"] == [400]


def test_health_names_the_specialists(opened):
    assert opened.get("/health").json() == {"status": "ok", "specialists": ["made"], "running": 0, "waiting": 0}


def test_the_description_of_the_api_has_every_route_and_every_refusal(opened):
    about = opened.get("/openapi.json").json()
    assert {"/health", "/api/about", "/api/predict", "/api/objects", "/api/training-images", "/api/fits"} < set(
        about["paths"]
    )
    predict = about["paths"]["/api/predict"]["post"]
    assert {"200", "404", "413", "422", "503", "504"} <= set(predict["responses"])
    assert "image/png" in predict["responses"]["200"]["content"]
    assert all(parameter.get("description") for parameter in predict["parameters"])


@pytest.fixture(scope="module")
def several(of_classes):
    with client(of_classes) as opened:
        yield opened, load_specialist(of_classes)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools
def test_a_specialist_with_classes_answers_with_their_numbers_or_with_one_of_them(several):
    opened, specialist = several
    (about,) = opened.get("/api/about").json()["specialists"]
    assert about["classes"] == ["disc", "bar"]
    numbers = specialist.predict(IMAGE)
    assert set(np.unique(numbers)) > {0}, "or this would compare nothing"
    assert np.array_equal(pixels_of(predict(opened).content), numbers)
    for number, name in enumerate(("disc", "bar"), start=1):
        assert np.array_equal(coco.decode(predict(opened, answer="rle", **{"class": name}).json()), numbers == number)
        assert np.array_equal(pixels_of(predict(opened, **{"class": name}).content), 255 * (numbers == number))
    first = predict(opened, answer="rle").json()
    assert np.array_equal(coco.decode(first), numbers == 1)
    named = json.loads(predict(opened, answer="geojson", threshold=0.01).content)["features"]
    one = json.loads(predict(opened, answer="geojson", threshold=0.01, **{"class": "disc"}).content)["features"]
    kinds = [{place["properties"]["classification"]["name"] for place in places} for places in (named, one)]
    assert kinds[0] <= {"disc", "bar"}
    assert kinds[1] <= {"disc"}
    assert len(named) >= len(one) > 0
    answer = predict(opened, **{"class": "cat"})
    assert (answer.status_code, answer.json()["detail"]) == (
        404, "scenes-specialist has no class cat. There are: disc, bar.")  # fmt: skip


def test_in_the_view_of_a_class_a_threshold_gives_the_mask_of_predict(several):
    opened, specialist = several
    probability = specialist.probability(IMAGE)
    for number, name in enumerate(("disc", "bar"), start=1):
        view = predict(opened, answer="view", **{"class": name}).json()
        assert view["shown_class"] == name
        steps = np.frombuffer(zlib.decompress(base64.b64decode(view["probability"])), np.uint8)
        for threshold in (20, 128, 220):
            shown = steps.reshape(probability.shape[1:]) >= threshold
            assert np.array_equal(shown, decided(probability, threshold / 256) == number)


def test_a_class_is_refused_where_there_is_a_single_one(opened):
    answer = predict(opened, **{"class": "cell"})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "made has no class cell. It finds a single class without a name."
