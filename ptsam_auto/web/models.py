"""The JSON of the API, as OpenAPI describes it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    """Whether the server works, and how busy it is."""

    status: Literal["ok"] = "ok"
    specialists: list[str] = Field(description="Names of the specialists; those of fits come last.")
    running: int = Field(description="Number of computations that run: 0 or 1.")
    waiting: int = Field(description="Number of requests that wait.")


class SpecialistInfo(BaseModel):
    """A specialist."""

    name: str
    about: str = Field(description="Training images, members and expected Dice, in one line.")
    uncertainty: bool = Field(description="Whether it has the models of its cross-fit, and so an uncertainty.")
    expected_dice: float | None = Field(description="Expected Dice on new images, 0 to 1.")
    smallest: int = Field(description="Area in px below which an object is removed.")
    largest_hole: int = Field(description="Area in px below which a hole is filled.")
    classes: list[str] = Field(description="Names of several classes, in the order of their numbers; empty for one.")


class About(BaseModel):
    """What the page shows, and what may be sent."""

    mode: Literal["serve", "annotate"]
    version: str
    specialists: list[SpecialistInfo]
    chosen: str | None = Field(description="Name of the specialist that is used if a request names none.")
    upload_bytes: int = Field(description="Largest request.")
    pixels: int = Field(description="Most pixels of a page of an image.")
    folder: str | None = Field(description="Name of the folder that is annotated, or of the training images.")
    fits: bool = Field(description="Whether a fit can be started.")
    fit_every: int = Field(description="Number of new masks after which a fit starts by itself; 0 for never.")
    boxes: bool = Field(description="Whether the object in a box can be found, at api/boxes.")


class RunLengths(BaseModel):
    """A mask as COCO's run lengths: columns from left to right, background first."""

    size: Annotated[list[int], Field(description="Height and width, px.")]
    counts: str | list[int] = Field(description="Compressed text, or a list of whole numbers.")


class PixelSizeInfo(BaseModel):
    """Size of a pixel in micrometres."""

    width: float
    height: float


class Prediction(BaseModel):
    """A prediction as the page needs it."""

    name: str
    specialist: str
    shown_class: str | None = Field(description="The class whose probability this is, or null for a single class.")
    page: int
    pages: int
    width: int
    height: int
    image: str | None = Field(description="The image as the network sees it, 8 bits: PNG in base64.")
    probability: str = Field(
        description="Foreground probability of each pixel, row by row: whole numbers of 8 bits, zlib, base64. A value "
        "is at least t exactly where the probability is above t / 256."
    )
    uncertainty: str | None = Field(
        description="Disagreement of the cross-fit's models, packed in the same way; 255 is the largest. Null unless "
        "it was asked for."
    )
    expected_dice: float | None = Field(description="Expected Dice of this image, 0 to 1, or null.")
    expected_dice_error: float | None = Field(description="Its typical error, or null.")
    pixel_size: PixelSizeInfo | None = Field(description="Size of a pixel, if the file states it.")


class Objects(BaseModel):
    """The objects of a mask. Touching ones are split by their shape."""

    objects: int
    touching_border: int = Field(description="Number of objects that touch the border of the image.")
    areas_px: list[int]
    areas_um2: list[float] | None
    foreground_share: float


class Saved(BaseModel):
    """Where an image and its mask were saved."""

    image: str
    mask: str
    masks: int = Field(description="Number of images with a mask in the folder.")


class FitProgress(BaseModel):
    """How far the last fit is."""

    state: Literal["none", "running", "loading", "done", "failed", "stopped"]
    specialist: str = Field(description="Name of the new specialist.")
    masks: int = Field(description="Number of annotated images when it was started.")
    stage: str
    done: int
    total: int
    note: str
    lines: list[str] = Field(description="The last messages.")
    seconds: float
    masks_now: int = Field(description="Number of annotated images now.")


class ImageState(BaseModel):
    """An image of the folder."""

    name: str
    state: Literal["open", "draft", "done"]
    rank: int | None = Field(description="Place in the order in which to paint, from 1, if it is known.")


class ImageList(BaseModel):
    """The images of the folder, those to paint next first."""

    images: list[ImageState]
    left_out: list[str] = Field(description="Files that are not shown, with the reason.")
    looked_at: int = Field(description="Number of images that the specialist has looked at, to order them.")
    to_look_at: int


class Opened(BaseModel):
    """An image of the folder, with its mask or draft."""

    name: str
    width: int
    height: int
    image: str = Field(description="PNG in base64.")
    state: Literal["open", "draft", "done"]
    mask: RunLengths | None


class DrawnBox(BaseModel):
    """A box around an object, px of the image; the upper left corner of the image is (0, 0)."""

    left: float = Field(ge=0, allow_inf_nan=False)
    top: float = Field(ge=0, allow_inf_nan=False)
    right: float = Field(gt=0, allow_inf_nan=False)
    bottom: float = Field(gt=0, allow_inf_nan=False)


class Finished(BaseModel):
    """A mask was saved."""

    mask: str = Field(description="Path of the mask in the folder.")
    masks: int
    fit_started: bool


class Failure(BaseModel):
    """Why a request was refused."""

    detail: str
