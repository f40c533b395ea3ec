"""Options for reading a folder of annotated images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadingOptions:
    """Options for reading a folder. The defaults read a folder only if the meaning of its files is certain.

    Args:
        allow_blank: Accept masks without foreground, or without background.
        categories: Names of the classes or COCO categories that are foreground; () for all of them.
        classes: Each category, or each value of the masks that is foreground, is a class of its own, so that masks are
            maps of class numbers. By default all of them together are one class.
        foreground: Mask values that are foreground, numbers ("1") or colours ("#ff0000"); () to decide by the values.
        background: Mask values that are background; () to decide by the values.
        ignore: Mask values whose pixels are ignored, both in the loss and in scores.
        channels: Channels of the images, counted from 1, to show as red, green and blue; () for the first three.
        recursive: Also read subfolders of images without a counterpart among the masks. Subfolders with a counterpart
            are always read.
        unmasked_are_blank: Images without a mask have no foreground.
        all_annotated: An image without a mask is an error, not an image for a later prediction.
        groups: CSV file with the columns name and group, or a regular expression whose first group is the name of the
            group. Images of one group are never in both parts of a split. "" for groups.csv in the folder, if any.
        layout: Layout to read if the folder follows several layouts; "" if it follows one.
        scaling: "each" scales each image that is not 8-bit by its own range, "set" scales all images by the range of
            the whole folder.
    """

    allow_blank: bool = False
    categories: tuple[str, ...] = ()
    classes: bool = False
    foreground: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    channels: tuple[int, ...] = ()
    recursive: bool = False
    unmasked_are_blank: bool = False
    all_annotated: bool = False
    groups: str = ""
    layout: str = ""
    scaling: str = "each"


DEFAULT = ReadingOptions()
