"""Decides which mask values of a folder are foreground, background or ignored.

All masks of a folder are analysed together. If the meaning is certain, it is used and reported; otherwise the folder is
rejected with a message that lists the values, their areas and the options to set.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ptsam_auto.data.levels import BLACK, WHITE, Value
from ptsam_auto.data.mask_values import TRANSPARENT, VOC_VOID, MaskValues, harmonised
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.polarity import exchanged, looks_exchanged_everywhere
from ptsam_auto.errors import ConfigError, Problem

ROOTPAINTER = ("#ff0000", "#00ff00")  # RootPainter's colours of foreground and background
OBJECTS_A_LABEL = 1.3  # connected areas per label if each label is one object; some objects are cut by others
FEW_LABELS = 4
MOST_SHOWN = 8
FOREGROUND, BACKGROUND, IGNORED = "foreground", "background", "takes no part"
MOST_CLASSES = 64  # More values than this are hardly classes.
IGNORED_NAMES = ("ignore", "void", "unlabelled", "unlabeled")  # names of the pixels that take no part, in a legend
CLASSES_APART = 2.0  # distance of the brightness of two classes, in standard deviations


@dataclass(frozen=True)
class Meaning:
    """Meaning of the mask values.

    Args:
        foreground: Foreground values; () for all values that are neither background nor ignored.
        background: Background values; () for all values that are neither foreground nor ignored.
        ignored: Values of ignored pixels.
        classes: Values of each class, in the order of their numbers; () for one class, the foreground.
    """

    foreground: tuple[Value, ...] = ()
    background: tuple[Value, ...] = (BLACK,)
    ignored: tuple[Value, ...] = ()
    classes: tuple[tuple[Value, ...], ...] = ()

    def of(self, mask: MaskValues) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the mask, H W, bool or class numbers, and the ignored pixels, H W, bool (None if there are none)."""
        codes = mask.codes()
        ignored = np.array([self.kind(value, mask) == IGNORED for value in mask.values])
        numbers = np.array([self.number(value, mask) for value in mask.values], np.uint8 if self.classes else bool)
        return numbers[codes], ignored[codes] if ignored.any() else None

    def number(self, value: Value, mask: MaskValues) -> int:
        """Return the number of the class of one value of a mask, 0 for background and ignored pixels."""
        if self.kind(value, mask) != FOREGROUND:
            return 0
        own = (number for number, values in enumerate(self.classes, start=1) if mask.is_one_of(value, values))
        return next(own, 1 if not self.classes else 0)

    def kind(self, value: Value, mask: MaskValues) -> str:
        """Return the meaning of one value of a mask: "foreground", "background" or "takes no part"."""
        if mask.is_one_of(value, self.ignored):
            return IGNORED
        if self.foreground:
            return FOREGROUND if mask.is_one_of(value, self.foreground) else BACKGROUND
        return BACKGROUND if mask.is_one_of(value, self.background) else FOREGROUND


@dataclass(frozen=True)
class Decision:
    """Decision about the mask values of a folder.

    Args:
        meaning: Meaning of the values; None if it is not certain.
        problems: Reasons why it is not certain.
        advice: Options that the user can set.
        notes: Assumptions, one sentence each.
        lines: Each value with its area and its meaning, for the summary of the folder.
        classes: Names of the classes, in the order of their numbers; () for one class without a name.
    """

    meaning: Meaning | None
    problems: tuple[Problem, ...] = ()
    advice: str = ""
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def decide(
    masks: Sequence[MaskValues],
    options: ReadingOptions,
    *,
    alone: bool = False,
    legend: Mapping[str, tuple[str, ...]] | None = None,
) -> Decision:
    """Decide the meaning of the values from all masks together.

    Args:
        masks: Masks of a folder.
        options: Options of the user; foreground, background, ignore and classes are used.
        alone: True for a single mask of many, which cannot show whether foreground and background are exchanged.
        legend: Name of each class, with the texts of its values, see `data.legend`; None if the folder has none.

    Raises:
        ConfigError: A value of the options is neither a number nor a colour.
    """
    if not masks:
        return Decision(Meaning())
    unclear = _pictures(masks)
    if unclear:
        return unclear
    masks = harmonised(masks)
    by_legend = _by_legend(masks, legend) if legend else None
    if by_legend:
        return by_legend
    notes = ["the legend is not used: the masks do not have its values."] if legend else []
    foreground, background, ignored = (
        [parsed(text) for text in texts] for texts in (options.foreground, options.background, options.ignore)
    )
    unknown = [value for value in (*foreground, *background, *ignored) if not _resolved(value, masks)]
    if unknown:
        return _ask(masks, f"no mask holds the value {', '.join(map(str, unknown))}")
    marked, unmarked, unused = (
        tuple(v for one in part for v in _resolved(one, masks)) for part in (foreground, background, ignored)
    )
    meaning = Meaning(marked, unmarked, unused)
    if VOC_VOID in _areas(masks) and any(mask.voc for mask in masks) and not ignored and not foreground:
        meaning = replace(meaning, ignored=(VOC_VOID,))
        notes.append("mask value 255, PASCAL VOC's void, takes no part.")
    if options.classes:
        return _by_values(masks, meaning, notes)
    if not foreground and not background:
        return _automatic(masks, meaning.ignored, notes, alone)
    if foreground and background:
        named = (*meaning.foreground, *meaning.background, *meaning.ignored)
        rest = [value for mask in masks for value in mask.values if not mask.is_one_of(value, named)]
        if rest:
            found = ", ".join(dict.fromkeys(_shown(value, masks) for value in rest))
            return _ask(masks, f"the value {found} is neither foreground, background nor ignored")
    return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))


def _by_legend(masks: Sequence[MaskValues], legend: Mapping[str, tuple[str, ...]]) -> Decision | None:
    """Return the meaning that the folder's legend states; None if it is about other masks."""
    parts: dict[str, tuple[Value, ...]] = {}
    for name, texts in legend.items():
        parts[name] = tuple(value for text in texts for value in _resolved(parsed(text), masks))
    background = next((values for name, values in parts.items() if name.lower() == "background"), ())
    ignored = tuple(value for name, values in parts.items() if name.lower() in IGNORED_NAMES for value in values)
    classes = {name: values for name, values in parts.items() if name.lower() not in ("background", *IGNORED_NAMES)}
    named = (*background, *ignored, *(value for values in classes.values() for value in values))
    if BLACK not in named:
        background = (*background, BLACK)
    rest = [value for mask in masks for value in mask.values if not mask.is_one_of(value, (*named, *background))]
    if rest and (len(classes) < 2 or not any(classes.values())):
        return None
    if rest:
        found = ", ".join(dict.fromkeys(_shown(value, masks) for value in rest))
        return _ask(masks, f"the value {found} is in the masks, but not in the legend ({', '.join(legend)})")
    absent = [name for name, values in classes.items() if not values]
    # In the order of their values, so that the numbers of classes are the values of the masks where that is possible.
    classes = dict(sorted(classes.items(), key=lambda one: [(isinstance(value, str), value) for value in one[1]]))
    notes = [f"the legend names {', '.join(absent)}, which no mask shows; not a class here."] if absent else []
    return _classes(masks, {name: values for name, values in classes.items() if values}, background, ignored, notes)


def _by_values(masks: Sequence[MaskValues], meaning: Meaning, notes: list[str]) -> Decision:
    """Return a meaning in which each value is a class of its own, except background and ignored values."""
    areas = _areas(masks)
    background = meaning.background or tuple(
        value for value in (TRANSPARENT, BLACK) if value in areas and value not in meaning.foreground
    )
    if not background:
        return _ask(masks, "no value is 0 or transparent, so that none is background for certain")
    values = meaning.foreground or tuple(v for v in areas if v not in background and v not in meaning.ignored)
    rest = [value for value in areas if value not in (*values, *background, *meaning.ignored)]
    if rest and meaning.background:
        found = ", ".join(_shown(value, masks) for value in rest)
        return _ask(masks, f"the value {found} is neither foreground, background nor ignored")
    if len(values) > MOST_CLASSES:
        return _ask(masks, f"the masks hold {len(values)} values, more than classes would; single objects?")
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    classes = {str(_index(value, masks)): (value,) for value in ordered}
    return _classes(masks, classes, (*background, *rest), meaning.ignored, notes)


def _classes(
    masks: Sequence[MaskValues],
    classes: Mapping[str, tuple[Value, ...]],
    background: tuple[Value, ...],
    ignored: tuple[Value, ...],
    notes: Sequence[str],
) -> Decision:
    foreground = tuple(value for values in classes.values() for value in values)
    several = len(classes) > 1  # The masks of one class are bool, but its name is kept.
    meaning = Meaning(foreground, background, ignored, tuple(classes.values()) if several else ())
    shares = dict(_shares(masks))
    lines = [
        f"class {number}, {name}: {', '.join(_shown(value, masks) for value in values)} "
        f"({_percent(sum(shares[value] for value in values))} of the area)"
        for number, (name, values) in enumerate(classes.items(), start=1)
    ]
    others = [line for line in _lines(masks, meaning) if not line.startswith(FOREGROUND)]
    return Decision(
        meaning,
        notes=tuple(notes),
        lines=(*lines, *others) if several else _lines(masks, meaning),
        classes=tuple(classes),
    )


def _resolved(given: Value, masks: Sequence[MaskValues]) -> tuple[Value, ...]:
    """Return the mask values that match a value of the user; in masks with a palette a number is an index."""
    values: list[Value] = []
    for mask in masks:
        numbered = bool(mask.indices) and not isinstance(given, str)
        values += [v for v in mask.values if (mask.indices.get(v) == given if numbered else mask.is_one_of(v, [given]))]
    return tuple(dict.fromkeys(values))


def parsed(text: str) -> Value:
    """Return the mask value from a user's text: 1, 0.5, #ff0000 or transparent.

    Raises:
        ConfigError: The text is not a mask value.
    """
    word = text.strip().lower()
    if word == TRANSPARENT:
        return word
    try:
        if word.startswith("#") and len(word) == 7:
            red, green, blue = (int(word[i : i + 2], 16) for i in (1, 3, 5))
            return red if red == green == blue else word
        number = float(word)
        return int(number) if number == int(number) else number
    except (ValueError, OverflowError):
        raise ConfigError(
            f'the mask value is {text}; expected a number such as 1, a colour such as "#ff0000", or transparent'
        ) from None


def _automatic(masks: Sequence[MaskValues], ignored: tuple[Value, ...], notes: list[str], alone: bool) -> Decision:
    values = [value for value in _areas(masks) if value not in ignored]
    clear = TRANSPARENT in values
    opaque = [value for value in values if value != TRANSPARENT]
    if clear and set(opaque) == set(ROOTPAINTER):
        meaning = Meaning(ROOTPAINTER[:1], ROOTPAINTER[1:], (*ignored, TRANSPARENT))
        notes.append("red is foreground and green background, as RootPainter has it; what is unpainted takes no part.")
        return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))
    if clear:
        if len(opaque) > 1:
            return _ask(masks, "the masks have several colours and are transparent elsewhere")
        meaning = Meaning((), (TRANSPARENT,), ignored)
        notes.append("what is transparent is background.")
        return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))
    meaning = Meaning((), (BLACK,), ignored)
    if any(not isinstance(value, str) and value < 0 for value in values):
        return _ask(masks, "some values are negative, which often stands for what takes no part")
    if len(values) > 1 and BLACK not in values:
        return _ask(masks, "no value is 0, so that none is background for certain")
    if _index_contradicts(masks, values):
        return _ask(masks, "the palette's first colour is not black, but another one is")
    if len(values) <= 2:
        return _two_valued(masks, meaning, notes, alone)
    marked = [value for value in values if value != BLACK]
    if {1, WHITE} == set(marked) and all(len(set(mask.values) - set(ignored)) <= 2 for mask in masks):
        notes.append("some masks mark with 1 and some with 255; both are foreground.")
        return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))
    if not _are_objects(masks, ignored):
        what = "several colours" if any(isinstance(value, str) for value in marked) else "several grey levels or labels"
        return _ask(masks, f"the masks hold {what}, and each marks many areas: classes, rather than single objects")
    if _are_classes(masks, marked):
        return _ask(masks, "the masks hold a few labels that look different in every image: classes, or objects?")
    notes.append(f"{len(marked)} labels, each of a single object, are foreground together.")
    return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))


def _two_valued(masks: Sequence[MaskValues], meaning: Meaning, notes: list[str], alone: bool) -> Decision:
    soft = [mask for mask in masks if mask.smeared]
    if soft:
        probable = soft[0].probabilities
        what = (
            "probabilities; above 0.5 is foreground."
            if probable
            else "slopes or noise between two values; half counts."
        )
        notes.append(f"{len(soft)} of {len(masks)} masks hold {what}")
    if alone:
        return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))
    odd = exchanged(masks)
    if odd:
        where = [Problem(masks[place].label, "foreground and background seem to be exchanged") for place in odd]
        decision = _ask(masks, "some masks mark the object with 0 and some with the other value")
        return Decision(None, (*where, *decision.problems), "Invert these masks; " + _lower(decision.advice))
    if looks_exchanged_everywhere(masks):
        return _ask(masks, "what is not 0 covers most of every image up to its border, as background does")
    return Decision(meaning, notes=tuple(notes), lines=_lines(masks, meaning))


def _pictures(masks: Sequence[MaskValues]) -> Decision | None:
    found = [mask for mask in masks if mask.picture]
    if not found:
        return None
    what = "a picture, an overlay or a heat map rather than a mask: its values change gradually, or are too many"
    advice = "Export masks with one value for each class, then run the command again."
    return Decision(None, tuple(Problem(mask.label, what) for mask in found), advice)


def _ask(masks: Sequence[MaskValues], why: str) -> Decision:
    """Return a decision without a meaning, which lists the values and the options to set."""
    shares = _shares(masks)
    listed = ", ".join(f"{_shown(value, masks)} ({_percent(share)})" for value, share in shares[:MOST_SHOWN])
    listed += f" and {len(shares) - MOST_SHOWN} more" if len(shares) > MOST_SHOWN else ""
    example = next((v for v, _ in reversed(shares[:MOST_SHOWN]) if v not in (BLACK, TRANSPARENT)), WHITE)
    shown = f'"{example}"' if isinstance(example, str) else str(_index(example, masks))
    several = ", or that each value is a class of its own (--classes)" if 3 <= len(shares) <= MOST_CLASSES else ""
    advice = (
        f"Say which values are foreground (such as --foreground {shown}), which are background (--background VALUE) or "
        f"which take no part (--ignore VALUE){several}, then run the command again."
    )
    where = "masks" if len(masks) > 1 else masks[0].label
    return Decision(None, (Problem(where, f"{why}; values and their areas: {listed}"),), advice)


def _areas(masks: Sequence[MaskValues]) -> Counter[Value]:
    """Return the number of pixels of each value, over all masks."""
    areas: Counter[Value] = Counter()
    for mask in masks:
        for value, count in zip(mask.values, mask.counts, strict=True):
            areas[value] += count
    return areas


def _shares(masks: Sequence[MaskValues]) -> list[tuple[Value, float]]:
    areas = _areas(masks)
    total = sum(areas.values())
    return [(value, count / total) for value, count in areas.most_common()]


def _lines(masks: Sequence[MaskValues], meaning: Meaning) -> tuple[str, ...]:
    """Return one line per meaning for the summary of the folder, with its values and their area."""
    shares: dict[str, float] = dict.fromkeys((FOREGROUND, BACKGROUND, IGNORED), 0.0)
    values: dict[str, list[Value]] = {key: [] for key in shares}
    for value, share in _shares(masks):
        kind = meaning.kind(value, next(mask for mask in masks if value in mask.values))
        shares[kind] += share
        values[kind].append(value)
    lines = []
    for kind, own in values.items():
        if own:
            names = [_shown(value, masks) for value in sorted(own, key=lambda value: (isinstance(value, str), value))]
            more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
            lines.append(f"{kind}: {', '.join(names[:MOST_SHOWN])}{more} ({_percent(shares[kind])} of the area)")
    return tuple(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.2g} %"


def _shown(value: Value, masks: Sequence[MaskValues]) -> str:
    if not any(value in mask.indices for mask in masks):
        return str(value)
    colour = value if isinstance(value, str) else "#" + 3 * f"{int(value):02x}"
    return f"{_index(value, masks)} [{colour}]"


def _index(value: Value, masks: Sequence[MaskValues]) -> Value:
    """Return the index of a colour if the masks have a palette; otherwise the value itself."""
    return next((mask.indices[value] for mask in masks if value in mask.indices), value)


def _index_contradicts(masks: Sequence[MaskValues], values: Sequence[Value]) -> bool:
    """Return whether a palette's index 0 is not black while black is also used, so that the background is not certain.

    Masks of black and white alone are certain: a viewer shows these colours.
    """
    for mask in masks:
        first = next((value for value, index in mask.indices.items() if index == 0), BLACK)
        if first != BLACK and BLACK in values and set(values) != {BLACK, WHITE}:
            return True
    return False


def _are_objects(masks: Sequence[MaskValues], ignored: tuple[Value, ...]) -> bool:
    """Return whether each label is one connected object."""
    labels = [(count, value) for mask in masks for value, count in mask.objects.items() if value not in ignored]
    if not labels:
        return False
    total = sum(sum(mask.counts) for mask in masks)
    largest = max(count for value, count in _areas(masks).items() if value != BLACK)
    return sum(count for count, _ in labels) <= OBJECTS_A_LABEL * len(labels) and largest < 0.5 * total


def _are_classes(masks: Sequence[MaskValues], marked: Sequence[Value]) -> bool:
    """Return whether the labels are classes rather than objects.

    This is so if the same few labels are in every mask, and one lies within another or has another brightness than
    another label in every image.
    """
    if len(marked) <= FEW_LABELS and any(mask.enclosed for mask in masks):
        return True
    seen = [mask for mask in masks if len(mask.values) > 2 and mask.brightness]
    if len(marked) > FEW_LABELS or len(seen) < 3 or any(set(marked) - set(mask.values) for mask in seen):
        return False
    levels = np.array([[mask.brightness[mask.values.index(value)] for value in marked] for mask in seen])
    for first in range(len(marked)):
        for second in range(first):
            apart = levels[:, first] - levels[:, second]
            if abs(apart.mean()) > CLASSES_APART * apart.std() + 1:
                return True
    return False


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
