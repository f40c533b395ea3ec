from pathlib import Path

import numpy as np
import pytest

from nano.sources import Folder, Mixture, Scenes, load, open_folder
from ptsam_auto.errors import DatasetError
from tests.nano.scenery import write_indexed_folder, write_split_folder


@pytest.fixture
def opened(monkeypatch):
    """Every file that is read as bytes."""
    names, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: names.append(path) or read(path))
    return names


@pytest.mark.parametrize("part", ["instances", "masks"])
def test_only_the_train_list_is_ever_read(tmp_path, part, opened):
    train, held_out = open_folder(write_split_folder(tmp_path, part))
    assert held_out.entries == ()
    assert train.images == 3
    rng = np.random.default_rng(0)
    for _ in range(30):
        train.draw(rng, 64)
    assert {path.stem for path in opened} == {"a", "b", "c"}


def test_folders_with_splits_have_one_kind_and_known_background(tmp_path):
    train, _ = open_folder(write_split_folder(tmp_path))
    regions = train.draw(np.random.default_rng(0), 64)
    assert regions.ground_known
    assert set(regions.kinds[1:]) == {1}
    assert len(regions.kinds) == regions.labels.max() + 1


def test_held_out_images_are_the_same_each_time_and_never_drawn(tmp_path, opened):
    train, held_out = open_folder(write_indexed_folder(tmp_path))
    assert (train.images, held_out.images) == (18, 2)
    assert open_folder(tmp_path)[1].entries == held_out.entries
    rng = np.random.default_rng(0)
    for _ in range(100):
        train.draw(rng, 64)
    read = {path.stem for path in opened}
    assert len(read) == 18
    assert not read & {entry.image.stem for entry in held_out.entries}


def test_what_is_not_annotated_is_not_taken_for_background(tmp_path):
    train, held_out = open_folder(write_indexed_folder(tmp_path, kinds=("instances", "object", "semantic_components")))
    for entry in [*train.entries, *held_out.entries]:
        regions = load(entry)
        assert regions.kinds is None
        assert not regions.ground_known


def test_labels_are_numbered_without_gaps_and_alternatives_are_drawn(tmp_path):
    train, _ = open_folder(write_indexed_folder(tmp_path))
    rng = np.random.default_rng(0)
    counts = {train.draw(rng, 64).labels.max() for _ in range(60)}
    assert counts == {1, 2}  # 7 and 300 became 1 and 2; the coarser map has one region


def test_a_mixture_keeps_to_its_shares(tmp_path):
    folder = open_folder(write_indexed_folder(tmp_path / "many", count=36))[0]
    few = Folder(folder.entries[:4])
    mixture = Mixture([Folder(folder.entries[:16]), few], 0.4)
    np.testing.assert_allclose(mixture.shares, [0.4, 0.4, 0.2])  # square roots of 16 and 4 share the rest
    np.testing.assert_allclose(Mixture([], 0.4).shares, [1.0])
    assert Scenes().draw(np.random.default_rng(1), 64).labels.shape == (64, 64)


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(DatasetError) as caught:
        open_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/ has 1 problem:\n"
        "  neither index.csv nor splits.json was found; one of them lists the images to train on\n"
        "Name a folder with one of these two layouts."
    )


def test_a_damaged_image_is_named(tmp_path):
    train, _ = open_folder(write_split_folder(tmp_path))
    (tmp_path / "images" / "a.png").write_text("oops")
    with pytest.raises(DatasetError, match=r"a\.png +cannot be read as an image"):
        load(train.entries[0])


def test_objects_of_one_kind_in_a_data_set_are_a_concept(tmp_path):
    split, _ = open_folder(write_split_folder(tmp_path / "cells"))
    kinds = ("components", "regions_exhaustive", "instances")
    mixed, _ = open_folder(write_indexed_folder(tmp_path / "mix", kinds=kinds))
    assert split.concepts == ("cells/any", "cells/outline")
    assert mixed.concepts == ("mix/us/any", "mix/us/outline")
    found = {tuple(load(entry).concepts) for entry in mixed.entries}
    assert found == {("mix/us/any", "mix/us/outline"), ("mix/us/outline",), ()}
    mixture = Mixture([split, mixed], 0.4)
    assert mixture.concepts == (*Scenes.concepts, *split.concepts, *mixed.concepts)
    assert "electron/1" in mixture.concepts
    assert "patterns/1" not in mixture.concepts, "a kind is something else in every scene of this type"
