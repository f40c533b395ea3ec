"""Orders the images that are not annotated by what painting them would teach, with the rule of `suggest`.

It computes in the background, one image at a time, and only while nobody waits for an answer.
"""

import asyncio
from collections.abc import Callable

import numpy as np

from ptsam_auto.errors import PtsamError
from ptsam_auto.specialist.masks import reading_of
from ptsam_auto.specialist.suggestion import choose
from ptsam_auto.specialist.uncertainty import Assessment, assess
from ptsam_auto.web.annotation import AnnotationFolder, Item
from ptsam_auto.web.shelf import Offered
from ptsam_auto.web.work import OneAtATime

MOST = 64  # images that are looked at, evenly spread over those that are open
PATIENCE = 0.2  # seconds between two looks at whether somebody waits


async def rank(
    folder: AnnotationFolder, offered: Offered, work: OneAtATime, progress: Callable[[int, int], None]
) -> None:
    """Look at the images that are open, and give the folder their order.

    Args:
        folder: The folder.
        offered: Specialist that looks at them; without folds nothing is ordered.
        work: What computes.
        progress: Function that is called with (images done, all images).
    """
    if not offered.has_folds or offered.descriptors is None:
        return
    items = [folder.items[name] for name, state in folder.states().items() if state == "open"]
    items = [items[index] for index in np.linspace(0, len(items) - 1, min(MOST, len(items))).astype(int)]
    seen: list[tuple[str, Assessment]] = []
    for done, item in enumerate(items):
        progress(done, len(items))
        while work.admitted:
            await asyncio.sleep(PATIENCE)
        try:
            seen.append((item.name, await work.run(_assessed, folder, offered, item)))
        except PtsamError:
            continue  # It is shown when the image is opened.
    progress(len(items), len(items))
    if seen:
        picks = choose(
            [about.disagreement for _, about in seen],
            np.stack([about.descriptor for _, about in seen]),
            offered.descriptors,
            len(seen),
        )
        folder.ranked([name for name, _ in seen], picks)


def _assessed(folder: AnnotationFolder, offered: Offered, item: Item) -> Assessment:
    return assess(offered.specialist, folder.read(item, reading_of(offered.specialist)))
