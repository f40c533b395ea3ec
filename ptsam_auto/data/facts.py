"""Channels, types, ranges and shapes of a folder's images, as text and as the rule that a specialist saves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ptsam_auto.data.reading import AS_STORED, EACH, FIXED, SCALINGS_IN_WORDS, ImageReading

UNSCALED = ("uint8", "bool")
ELONGATED = 3.0  # ratio of the sides; beyond it, most of a square input is padding
MOST_USED = 3
SHOWN = 3


@dataclass(frozen=True)
class Facts:
    """Facts about how one image was read; see `reading.Seen`.

    Args:
        label: Name of the image in messages.
        size: Width and height, px.
        dtype: Type of the stored values.
        stored: Number of stored channels.
        files: Number of files of the image.
        low: Stored value of each channel that was scaled to black; () if nothing was scaled.
        high: Stored value of each channel that was scaled to white.
        constant: True if all pixels have the same value.
    """

    label: str
    size: tuple[int, int]
    dtype: str
    stored: int
    files: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    constant: bool


def channels_in_words(facts: Sequence[Facts], chosen: tuple[int, ...]) -> str:
    """Return the number of channels and the shown channels, as text."""
    counts = Counter(one.stored for one in facts)
    if not counts:
        return ""
    parts = []
    for stored, images in sorted(counts.items()):
        where = f" in {images} images" if len(counts) > 1 else ""
        if chosen:
            parts.append(f"{stored}{where}; shown: {', '.join(map(str, chosen))}")
        elif stored > MOST_USED:
            rest = ", ".join(map(str, range(MOST_USED + 1, stored + 1)))
            parts.append(f"{stored}{where}; 1, 2, 3 are shown, {rest} left out (choose with --channels 1,2,{stored})")
        else:
            parts.append(f"{stored}{where}")
    return "; ".join(parts)


def scaling_in_words(facts: Sequence[Facts], reading: ImageReading) -> str:
    """Return the range of stored values that was scaled to 0 to 255, and the rule, as text."""
    if not facts:
        return ""
    types = Counter(one.dtype for one in facts)
    scaled = [one for one in facts if one.low]
    named = ", ".join(f"{count} {dtype}" for dtype, count in types.most_common())
    if not scaled:
        return f"none: {named}"
    low, high = min(min(one.low) for one in scaled), max(max(one.high) for one in scaled)
    rule = SCALINGS_IN_WORDS[reading.scaling]
    note = ""
    if set(types) & set(UNSCALED) and set(types) - set(UNSCALED):
        note = "; 8-bit and other images are mixed, which look different where they were not scaled alike"
    return f"{named}; {rule}: {low:.6g} to {high:.6g} become 0 to 255{note}"


def remembered(facts: Sequence[Facts], reading: ImageReading) -> ImageReading:
    """Return the rule that a specialist saves. If no training image was 8-bit, it also scales 8-bit images."""
    stored = {one.stored for one in facts}
    files = {one.files for one in facts}
    scaling = reading.scaling
    if scaling == AS_STORED and facts and all(one.low for one in facts):
        scaling = EACH
    return replace(
        reading,
        stored=stored.pop() if len(stored) == 1 else 0,
        files=files.pop() if len(files) == 1 else 1,
        scaling=scaling,
    )


def ranged(facts: Sequence[Facts], reading: ImageReading) -> ImageReading:
    """Return a rule that scales all images by the common range of these images, separately for each channel."""
    scaled = [one for one in facts if one.low]
    channels = {len(one.low) for one in scaled}
    if not scaled or len(channels) > 1:
        return reading
    low = tuple(min(one.low[channel] for one in scaled) for channel in range(channels.pop()))
    high = tuple(max(one.high[channel] for one in scaled) for channel in range(len(low)))
    return replace(reading, scaling=FIXED, low=low, high=high)


def sizes(facts: Sequence[Facts]) -> tuple[tuple[int, int], ...]:
    """Return (width, height), px, of the smallest and the largest image; () without images."""
    ordered = sorted((one.size for one in facts), key=lambda size: (size[0] * size[1], size))
    return (ordered[0], ordered[-1]) if ordered else ()


def notes(facts: Sequence[Facts]) -> list[str]:
    """Return one sentence for each unusual property of images."""
    sentences = []
    flat = [one.label for one in facts if one.constant]
    if flat:
        sentences.append(f"{_some(flat)}: every pixel has the same value.")
    long = [one.label for one in facts if max(one.size) > ELONGATED * min(one.size)]
    if long:
        sentences.append(
            f"{_some(long)}: more than {ELONGATED:.0f} times as long as wide, so that most of what the network sees is "
            "padding; cut such images into squarer tiles."
        )
    return sentences


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:SHOWN]) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
