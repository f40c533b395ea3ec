"""The table that is shown while a search is running."""

from dataclasses import replace

from ptsam_auto.search.trial_table import MOST_ROWS, progress_table
from tests.search.toys import ended


def rows(trials):
    return list(zip(*(column.cells for column in progress_table(trials).columns), strict=True))


def test_running_trials_come_first_then_the_best_with_the_settings_that_differ():
    first, second = ended(0, [0.7], trainable=1024), ended(1, [0.8], state="stopped")
    running = replace(ended(2, [0.6]), rungs=[], state="running")
    failed = replace(ended(3, [0.6]), rungs=[], state="failed")
    assert rows([first, second, running, failed]) == [
        ("2", "decoder_prompts 8", "0/40", "", "running"),
        ("1", "decoder_prompts 8", "40/40", "80.0", "stopped"),
        ("0", "decoder_prompts 4", "40/40", "70.0", "finished"),
        ("3", "decoder_prompts 8", "0/40", "", "failed"),
    ]


def test_a_long_search_fits_on_the_screen():
    trials = [ended(number, [number / 100]) for number in range(MOST_ROWS + 5)]
    assert len(rows(trials)) == MOST_ROWS
    assert progress_table(trials).caption == "and 5 more"
