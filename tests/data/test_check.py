"""The contact sheet: one page without anything from elsewhere, for sound and for broken folders."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ptsam_auto.data.check import check
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.errors import OutputError
from tests.data.folders import pairs_folder, save
from tests.data.stored import scene


class Page(HTMLParser):
    """What a browser would show: text, and images by their alternative text."""

    def __init__(self, path):
        super().__init__()
        self.text, self.images, self.tags = [], [], set()
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attributes))

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def test_a_sound_folder(tmp_path):
    folder = pairs_folder(tmp_path / "set")
    found = check(folder, out=tmp_path / "sheet.html")
    assert found.error is None
    page = Page(tmp_path / "sheet.html")
    assert [image["alt"] for image in page.images if image["alt"]] == [f"{n} with its mask" for n in "abc"]
    for what, finding in found.understanding.rows():
        assert what in page.words
        assert finding in page.words
    assert "Nothing is wrong with it." in page.words
    assert "3 annotated; 16 x 12 px" in page.words


def test_nothing_comes_from_elsewhere(tmp_path):
    check(pairs_folder(tmp_path / "set"), out=tmp_path / "sheet.html")
    page = Page(tmp_path / "sheet.html")
    assert not {"script", "link", "iframe"} & page.tags
    assert not re.findall(r"https?://|url\(|@import", page.source)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.images)


def test_names_are_no_markup(tmp_path):
    name = "a <img src=x onerror=alert(1)> [red]&amp;"
    save(tmp_path / f"set/images/{name}.png", scene(0)[0])
    save(tmp_path / f"set/masks/{name}.png", scene(0)[1] > 0)
    check(tmp_path / "set", out=tmp_path / "sheet.html")
    page = Page(tmp_path / "sheet.html")
    assert len(page.images) == 2
    assert name in page.words


def test_a_folder_with_problems_shows_what_could_be_read(tmp_path):
    folder = pairs_folder(tmp_path / "set")
    (folder / "images/b.png").write_text("not an image")
    found = check(folder, out=tmp_path / "sheet.html")
    page = Page(tmp_path / "sheet.html")
    assert "1 problem images/b.png holds text; expected the content of a PNG, JPEG, BMP or TIFF file" in page.words
    assert [image["alt"] for image in page.images if image["alt"]] == ["a with its mask", "c with its mask"]
    assert "images/b.png  holds text" in str(found.error)


def test_values_that_are_a_question_are_drawn_in_colours(tmp_path):
    for place in range(3):
        image, labels = scene(place)
        save(tmp_path / f"set/images/{place}.png", image)
        save(tmp_path / f"set/masks/{place}.png", np.where(labels > 0, 1, 2).astype(np.uint8))
    found = check(tmp_path / "set", out=tmp_path / "sheet.html")
    assert found.error is not None
    page = Page(tmp_path / "sheet.html")
    assert len(page.images) == 6
    assert "Say which values are foreground (such as --foreground 1)" in page.words
    assert check(tmp_path / "set", ReadingOptions(foreground=("1",))).error is None


def test_nothing_that_could_be_read(tmp_path):
    (tmp_path / "set").mkdir()
    found = check(tmp_path / "set", out=tmp_path / "sheet.html")
    assert "an empty folder; expected images and masks" in Page(tmp_path / "sheet.html").words
    assert found.understanding.images == 0
    assert "an empty folder" in str(found.error)


def test_a_sheet_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError) as raised:
        check(pairs_folder(tmp_path / "set"), out=tmp_path / "gone" / "sheet.html")
    assert str(raised.value) == (
        f"Cannot write {tmp_path / 'gone' / 'sheet.html'}: No such file or directory.\nChoose another --out."
    )


def test_what_was_understood_in_a_terminal(tmp_path):
    assert check(pairs_folder(tmp_path / "set")).understanding.lines() == [
        "images:    3 annotated; 16 x 12 px",
        "layout:    pairs: images images/NAME, masks masks/NAME",
        "masks:     foreground: 255 (12.5 % of the area)",
        "masks:     background: 0 (87.5 % of the area)",
        "channels:  3",
        "scaling:   none: 3 uint8",
    ]
