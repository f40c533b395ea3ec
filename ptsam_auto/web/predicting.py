"""The part of the API that predicts: masks of images, and the objects of masks."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from fastapi import APIRouter, File, HTTPException, Query, Response, UploadFile

from ptsam_auto.data.names import stem
from ptsam_auto.metrics.classes import decided, share_of_class
from ptsam_auto.objects.pixel_size import PixelSize, pixel_size_of
from ptsam_auto.objects.separation import NOT_LEARNED, ObjectSettings
from ptsam_auto.specialist.artifact import Specialist
from ptsam_auto.specialist.calibration import confidence
from ptsam_auto.specialist.masks import reading_of
from ptsam_auto.specialist.uncertainty import as_pixels, assess
from ptsam_auto.web import answers
from ptsam_auto.web.answers import Answer, Drawn
from ptsam_auto.web.models import Failure, Objects, Prediction, RunLengths
from ptsam_auto.web.shelf import Offered
from ptsam_auto.web.site import Site
from ptsam_auto.web.uploads import mask_from, safe_name, uploaded

Wanted = Literal["mask", "rle", "view", "probability", "labels", "geojson", "imagej", "coco", "csv"]
OfMask = Literal["json", "mask", "rle", "labels", "geojson", "imagej", "coco", "csv"]
ImagePart = Annotated[UploadFile, File(description="The image: any file that ptsam-auto predict reads.")]
MaskPart = Annotated[
    UploadFile,
    File(description="The mask: an image of two values, such as PNG with 0 and 255, or COCO's run lengths as JSON."),
]
SpecialistName = Annotated[
    str | None, Query(description="Name of the specialist. Default: that of the last fit, or else the first.")
]
ClassName = Annotated[
    str | None,
    Query(
        alias="class",
        description="One class of a specialist with several. Default: the first for view, rle and probability; all "
        "classes for the others, where a mask has their numbers.",
    ),
]
PageNumber = Annotated[int, Query(description="Page of a stack, counted from 0.", ge=0)]
REFUSALS: dict[int | str, dict[str, Any]] = {
    int(status): {"model": Failure, "description": what}
    for status, what in (
        (HTTPStatus.NOT_FOUND, "There is no such specialist or image."),
        (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The request is larger than the limit."),
        (HTTPStatus.UNPROCESSABLE_ENTITY, "The image or the mask cannot be used; the reason is in the answer."),
        (HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests wait. The header Retry-After says when to try again."),
        (HTTPStatus.INSUFFICIENT_STORAGE, "A file cannot be written; the reason is in the answer."),
        (HTTPStatus.GATEWAY_TIMEOUT, "The answer took longer than the limit."),
    )
}
FILES = {
    "content": {kind: {} for kind in sorted({kind for _, kind in answers.ENDINGS.values()})},
    "description": "What was asked for.",
}


def router(site: Site) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api", tags=["predict"], responses=REFUSALS)

    @routes.post("/predict", responses={200: FILES}, response_model=Prediction | RunLengths)
    async def predict(
        image: ImagePart,
        specialist: SpecialistName = None,
        answer: Annotated[
            Wanted,
            Query(
                description="mask: PNG, 0 and 255. rle: COCO's run lengths. probability: TIFF, float32. labels: one "
                "number per object, OME-TIFF. geojson: for QuPath. imagej: ROI set. coco, csv: the objects. view: what "
                "the page shows."
            ),
        ] = "mask",
        threshold: Annotated[float, Query(description="Probability above which a pixel is foreground.", gt=0, lt=1)] = (
            0.5
        ),
        page: PageNumber = 0,
        class_name: ClassName = None,
        uncertainty: Annotated[bool, Query(description="Also compute the uncertainty; only with answer=view.")] = False,
    ) -> Any:  # noqa: ANN401 - JSON or a file
        """Predict the mask of one image, or of one page of a stack."""
        offered = chosen(site, specialist)
        check_class(offered, class_name)
        if uncertainty and not offered.has_folds:
            raise HTTPException(422, f"{offered.name} has no models of a cross-fit, so no uncertainty.")
        made = await site.work.run(
            predicted, site, offered, image.file, image.filename, page, answer, threshold, class_name, uncertainty
        )
        return as_response(made) if isinstance(made, Answer) else made

    @routes.post("/objects", responses={200: FILES}, response_model=Objects | RunLengths)
    async def objects(
        mask: MaskPart,
        specialist: SpecialistName = None,
        answer: Annotated[OfMask, Query(description="json: number and areas; the others as for predict.")] = "json",
        name: Annotated[str, Query(description="Name of the image, for the name of the file.")] = "mask",
        class_name: Annotated[
            str, Query(alias="class", description="Name of the class in the files of other programs.", max_length=200)
        ] = answers.FOREGROUND,
        smallest: Annotated[
            int | None, Query(description="Area in px below which an object is removed. Default: learned.", ge=0)
        ] = None,
        largest_hole: Annotated[
            int | None, Query(description="Area in px below which a hole is filled. Default: learned.", ge=0)
        ] = None,
        pixel_width: Annotated[float | None, Query(description="Width of a pixel, micrometres.", gt=0)] = None,
        pixel_height: Annotated[float | None, Query(description="Height of a pixel, micrometres.", gt=0)] = None,
    ) -> Any:  # noqa: ANN401 - JSON or a file
        """Count and measure the objects of a mask, or write it in another format."""
        offered = site.shelf.get(specialist) if specialist is None else chosen(site, specialist)
        learned = offered.specialist.record.objects if offered else NOT_LEARNED
        settings = ObjectSettings(
            learned.smallest if smallest is None else smallest,
            learned.largest_hole if largest_hole is None else largest_hole,
        )
        size = PixelSize(pixel_width, pixel_height) if pixel_width and pixel_height else None
        made = await site.work.run(measured, site, mask.file, answer, name, class_name, settings, size)
        return as_response(made) if isinstance(made, Answer) else made

    return routes


def chosen(site: Site, name: str | None) -> Offered:
    """Return a specialist by its name; raises HTTPException if there is none."""
    offered = site.shelf.get(name)
    if offered is None:
        names = ", ".join(one.name for one in site.shelf) or "none yet"
        raise HTTPException(404, f"There is no specialist {name or ''}".rstrip() + f". There are: {names}.")
    return offered


def check_class(offered: Offered, name: str | None) -> None:
    """Raise HTTPException if the specialist has no such class."""
    classes = offered.specialist.classes
    if name is not None and name not in classes:
        there = f"There are: {', '.join(classes)}" if classes else "It finds a single class without a name"
        raise HTTPException(404, f"{offered.name} has no class {name}. {there}.")


def predicted(
    site: Site,
    offered: Offered,
    content: BinaryIO,
    name: str | None,
    page: int,
    answer: Wanted,
    threshold: float,
    class_name: str | None,
    uncertainty: bool,
) -> Answer | dict[str, Any]:
    """Predict a page of an uploaded image, in the form that is asked for.

    Raises:
        DatasetError: The image cannot be used.
    """
    specialist = offered.specialist
    with uploaded(content, name, page, reading_of(specialist), site.limits.pixels) as image:
        size = pixel_size_of(image.path)
        if answer == "view":
            about = {"name": image.name, "page": page, "pages": image.pages}
            about |= {"image": answers.encoded(answers.png(image.pixels))}
            about |= {"pixel_size": {"width": size.width, "height": size.height} if size else None}
            return about | shown(offered, lambda: image.pixels, class_name, uncertainty=uncertainty)
        probability = specialist.probability(image.pixels)
        of_one, map_of_one = of_one_class(specialist, probability, class_name)
        if answer == "probability":
            return answers.probability_file(image.name, map_of_one)
        if answer == "rle":
            return answers.compressed_runs(map_of_one > threshold)
        drawn = Drawn(image.name, map_of_one > threshold, specialist.record.objects, size)
        if specialist.classes and class_name is None:
            drawn = replace(drawn, mask=decided(probability, threshold), classes=specialist.classes)
        elif of_one is not None:
            drawn = replace(drawn, class_name=of_one)
        return answers.as_file(drawn, answer)


def of_one_class(specialist: Specialist, probability: np.ndarray, name: str | None) -> tuple[str | None, np.ndarray]:
    """Return the name of a class, by default the first, and its map, H W; None and the map itself for a single class.

    The map of one of several classes is that of `share_of_class`, so a threshold gives the mask that `predict` gives.
    """
    if not specialist.classes:
        return None, probability
    name = specialist.classes[0] if name is None else name
    return name, share_of_class(probability, specialist.classes.index(name) + 1)


def shown(
    offered: Offered, read: Callable[[], Any], class_name: str | None = None, *, uncertainty: bool
) -> dict[str, Any]:
    """Return the prediction of an image as the page needs it.

    Args:
        offered: The specialist.
        read: Returns the image, H W 3, uint8, RGB, as the specialist reads it.
        class_name: One of several classes. Default: the first.
        uncertainty: Whether the uncertainty is computed too.
    """
    pixels, specialist = read(), offered.specialist
    unsure = None
    if uncertainty:
        assessment = assess(specialist, pixels)
        probability, unsure = assessment.probability, answers.packed(as_pixels(assessment.uncertainty))
    else:
        probability = specialist.probability(pixels)
    shown_class, of_one = of_one_class(specialist, probability, class_name)
    line = specialist.record.scores.calibration
    return {
        "specialist": offered.name,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "shown_class": shown_class,
        "probability": answers.packed(answers.in_steps(of_one)),
        "uncertainty": unsure,
        "expected_dice": line.expected_dice(confidence(probability)) if line else None,
        "expected_dice_error": line.error if line else None,
    }


def measured(
    site: Site,
    content: BinaryIO,
    answer: OfMask,
    name: str,
    class_name: str,
    settings: ObjectSettings,
    size: PixelSize | None,
) -> Answer | dict[str, Any]:
    """Return the objects of a mask in the form that is asked for; raises DatasetError if the mask cannot be used."""
    mask = mask_from(content.read(), site.limits.pixels)
    if answer == "rle":
        return answers.compressed_runs(mask)
    drawn = Drawn(stem(Path(safe_name(name))), mask, settings, size, class_name=class_name)
    return answers.summary(drawn) if answer == "json" else answers.as_file(drawn, answer)


def as_response(answer: Answer) -> Response:
    """Return a file as an answer, with its name."""
    plain = answer.name.encode("ascii", "replace").decode().replace("?", "_").replace('"', "_")
    return Response(
        answer.content, media_type=answer.kind, headers={"content-disposition": f'attachment; filename="{plain}"'}
    )
