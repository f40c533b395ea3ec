"""What MLflow shows of a fit whose logging did not come to its end."""

import pytest

from ptsam_auto.methods.ptsam import PTSAMConfig
from ptsam_auto.sam import checkpoint
from ptsam_auto.tracking import log_fit
from tests.specialist.records import member, record

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.mark.parametrize("part", ["_register", "curve_metrics"])
def test_a_run_whose_logging_broke_off_is_failed_not_running_for_ever(store, toy, tmp_path, monkeypatch, part):
    (tmp_path / "report.html").write_text("<p>report</p>")
    one = record(member(checkpoint.load(toy), PTSAMConfig(decoder_prompts=1)))

    def broken(*_, **__):
        raise ConnectionError("The server is gone.")

    monkeypatch.setattr(log_fit, part, broken)
    with pytest.raises(ConnectionError):
        log_fit.log_fit("discs", tmp_path, one, {}, {})
    experiment = store.get_experiment_by_name(log_fit.EXPERIMENT)
    runs = store.search_runs([experiment.experiment_id])
    states = {run.info.run_name: run.info.status for run in runs}
    assert states == {"discs": "FAILED", "ptsam": "FAILED" if part == "curve_metrics" else "FINISHED"}
