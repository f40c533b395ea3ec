import json

import cv2
import numpy as np
import pytest

from nano.probe import probe
from nano.zero_shot import HEADER, bare_box_iou, instance_prompts, listed_entries, prompted_sets
from ptsam_auto.errors import DatasetError, OutputError
from tests.nano.scenery import write_indexed_folder
from tests.nano.test_command import call
from tests.toys import toy_sam, write_folder


@pytest.fixture
def instances(tmp_path):
    """Six images with one disc each, three of them in the test list."""
    folder = write_folder(tmp_path / "discs", 6)
    names = [f"disc{number:02d}" for number in range(6)]
    (folder / "splits.json").write_text(json.dumps({"train": names[:3], "val": [], "test": names[3:]}))
    (folder / "instances").mkdir()
    for name in names:
        mask = cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / "instances" / f"{name}.png"), (mask > 0).astype(np.uint16))
    return folder


def test_every_instance_of_the_test_list_gets_a_box_and_a_click(instances):
    entries = listed_entries(instances, most=2)
    assert [entry.image.stem for entry in entries] == ["disc03", "disc04"]
    images = instance_prompts(entries, 64)
    assert 0.7 < bare_box_iou(images) < 0.85, "a disc fills pi / 4 of its box"
    report = probe(toy_sam(), images)
    assert report.prompts[:2] == (2, 2)
    assert report.prompts[2] >= 1


def test_the_command_prints_one_table_and_writes_it(tmp_path, instances, toy, capsys):
    mix = write_indexed_folder(tmp_path / "mix", count=20)
    out = tmp_path / "table.md"
    call("zero-shot", "--weights", toy, "--data", instances, "--data", mix, "--most", 2, "--out", out)
    text = out.read_text()
    assert capsys.readouterr().out == text + "\n"
    header, _, *lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert header == list(HEADER)
    assert [line[0] for line in lines] == [
        "10 scenes",
        "discs, 2 of the test list",
        "mix, 2 held out, and those scenes",
    ]
    for line in lines:
        assert all(0 <= float(number) <= 1 for number in line[2:7])


def test_prompts_that_no_image_has_leave_a_gap(tmp_path, toy, monkeypatch):
    from nano import zero_shot

    monkeypatch.setattr(zero_shot, "prompted_sets", lambda data, most: [zero_shot.PromptedSet("none", lambda size: [])])
    ((name, _, *numbers),) = zero_shot.zero_shot_table([toy], [])
    assert (name, numbers) == ("none", ["-"] * 5 + ["0/0/0"])


def test_a_folder_of_masks_is_refused(discs):
    (discs / "splits.json").write_text(json.dumps({"test": ["disc00"]}))
    with pytest.raises(DatasetError) as caught:
        prompted_sets([discs])
    assert "instances/ " in str(caught.value)
    assert "missing; boxes and clicks need instances, not masks" in str(caught.value)


def test_a_table_that_cannot_be_written_is_said(tmp_path, toy):
    out = tmp_path / "nowhere" / "table.md"
    with pytest.raises(OutputError) as caught:
        call("zero-shot", "--weights", toy, "--out", out)
    assert str(caught.value) == f"{out} cannot be written: No such file or directory. Name another file with --out."
