"""Views that are painted ahead by several threads are those that are painted when they are needed."""

import threading

import pytest
import torch

from ptsam_auto.training import ahead, bank, views
from ptsam_auto.training.ahead import Ahead, painters
from ptsam_auto.training.recipe import Recipe
from tests.toys import sampler, toy_sam


def test_results_are_those_of_the_function_and_the_following_are_made_ahead():
    made, known = [], threading.Condition()

    def make(number):
        with known:
            made.append(number)
            known.notify_all()
        return number**2

    results = Ahead(make, 2, "test")
    assert results.get(0, iter([3, 5, 7])) == 0
    with known:
        assert known.wait_for(lambda: len(made) == 3, timeout=60)
    assert sorted(made) == [0, 3, 5]
    assert [results.get(number, []) for number in (3, 5, 7)] == [9, 25, 49]
    assert sorted(made) in ([0, 3, 5, 7], [0, 3, 5, 5, 7])  # 5 was dropped when nothing was said to follow.


def test_an_error_reaches_the_one_who_asks():
    def broken(number):
        raise ValueError(number)

    results = Ahead(broken, 1, "test")
    with pytest.raises(ValueError, match="0"):
        results.get(0, [1])
    with pytest.raises(ValueError, match="1"):
        results.get(1, [])


def test_a_cpu_keeps_its_cores_for_the_network_and_a_gpu_is_fed_by_several_threads(monkeypatch):
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 16)
    assert (painters(torch.device("cpu"), on_cpu=1), painters(torch.device("cuda"), on_cpu=1)) == (1, 8)


def test_batches_do_not_depend_on_the_number_of_painting_threads(tmp_path, monkeypatch):
    from ptsam_auto.methods.ptsam import PTSAMConfig
    from ptsam_auto.methods.sam_methods import build
    from ptsam_auto.sam.tiles import Tiling

    model = build(toy_sam(), PTSAMConfig(), 0, Tiling())

    def batches(threads, folder):
        for module in (bank, views):
            monkeypatch.setattr(module, "painters", lambda device, on_cpu: threads)
        sources = [
            bank.views_for(model, "b" * 64, sampler(5), Recipe(epochs=3, steps_per_epoch=2, views=count), folder)
            for count in (0, 2)
        ]
        return [source.draw(step) for source in sources for step in range(5)]

    for one, other in zip(batches(0, tmp_path / "0"), batches(4, tmp_path / "4"), strict=True):
        assert torch.equal(one.features_B256GG, other.features_B256GG)
        assert torch.equal(one.target_BSS, other.target_BSS)
        assert torch.equal(one.inside_BSS, other.inside_BSS)
