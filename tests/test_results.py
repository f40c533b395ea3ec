"""The evidence behind the published figures is in the tree, and still says what they say."""

from pathlib import Path

import pytest

from ptsam_auto.compare.record import JOURNAL_FILE, RECORD_FILE, ComparisonRecord, Event
from ptsam_auto.compare.results import mean_and_std, results_of, select
from ptsam_auto.experiment import journal
from ptsam_auto.records import from_json
from ptsam_auto.search.record import read_search
from ptsam_auto.search.selection import select as select_trial
from ptsam_auto.training import defaults

RESULTS = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize(
    ("folder", "backbone", "best"), [("decoder", "nano", "69.0"), ("lite_medsam", "lite_medsam", "74.7")]
)
def test_the_search_still_chooses_what_is_frozen(folder, backbone, best):
    found = read_search(RESULTS / folder)
    selection = select_trial(found.trials)
    evidence = defaults.evidence(backbone, "decoder")
    assert (selection.chosen.number, found.record.origin.id) == (evidence["chosen"], evidence["id"])
    assert f"{100 * selection.best.dice:.1f}" == best
    values = defaults.values(backbone, "decoder")
    assert {path: values[path] for path in selection.chosen.configuration} == selection.chosen.configuration


def test_the_ablation_has_all_its_trials():
    assert {trial.state for trial in read_search(RESULTS / "prompt_counts").trials} == {"finished"}


def test_the_comparison_still_says_what_its_table_says():
    record = from_json(ComparisonRecord, (RESULTS / "comparison" / RECORD_FILE).read_bytes())
    results = results_of(journal.read(RESULTS / "comparison" / JOURNAL_FILE, Event)[0])
    assert record.request.data.keys() == {result.dataset for result in results}
    best = mean_and_std(select(results, dataset="livecell_mini", entry="ptsam-encoder"))
    assert [f"{100 * value:.1f}" for value in best] == ["85.7", "0.1"]
