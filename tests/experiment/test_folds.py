import numpy as np
from PIL import Image
from rich.console import Console

from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.data.render import write_example
from ptsam_auto.experiment.folds import folds_of, read_datasets
from ptsam_auto.terminal import Terminal
from tests.toys import write_folder


def test_where_images_are_slices_of_a_volume_it_is_said_that_neighbours_are_held_out(tmp_path, capsys):
    for part in ("images", "masks"):
        (tmp_path / "volume" / part).mkdir(parents=True)
    rows, columns = np.mgrid[:64, :64] / 8
    for i in range(15):  # a pattern that moves a little from one slice to the next
        slice_ = 120 + 100 * np.sin(columns + 0.3 * i) * np.cos(rows * (1 + 0.1 * i))
        Image.fromarray(slice_.astype(np.uint8)).save(tmp_path / "volume" / "images" / f"z{i}.png")
        Image.fromarray((slice_ > 150).astype(np.uint8) * 255).save(tmp_path / "volume" / "masks" / f"z{i}.png")
    write_folder(tmp_path / "discs", 6)
    terminal = Terminal(Console(stderr=True, force_terminal=False, soft_wrap=True))
    datasets = read_datasets([tmp_path / "volume", tmp_path / "discs"], ReadingOptions(), terminal)
    said = capsys.readouterr().err
    assert "volume: the images are one sequence, so each split holds out a run of neighbours." in said
    assert "discs: the images" not in said
    held_out = [sorted(pair.name for pair in fold.held_out) for fold in folds_of(datasets, 2, 16)][:2]
    assert held_out == [["z0", "z1", "z2"], ["z3", "z4", "z5"]]


def test_the_classes_of_a_dataset_are_those_of_its_splits(tmp_path):
    write_example(tmp_path / "cells", count=4, classes=True)
    write_folder(tmp_path / "discs", 4)
    datasets = read_datasets([tmp_path / "cells", tmp_path / "discs"], ReadingOptions(classes=True), Terminal.silent())
    assert [dataset.classes for dataset in datasets] == [("cell", "debris", "speck"), ()]
    assert [fold.classes for fold in folds_of(datasets, 1, 16)] == [3, 1]
