import pytest

from nano.tracker import Tracker

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy and others


def test_an_interrupted_run_continues_in_the_same_mlflow_run(store):
    first = Tracker("toy", {"seed": 3})
    first.log(1, {"loss": 2.0})
    first.flush()
    second = Tracker("toy", {"seed": 3}, first.run_id)
    second.log(2, {"loss": 1.0})
    second.close()
    run = store.get_run(first.run_id)
    assert (run.info.run_name, run.info.status, run.data.params["seed"]) == ("toy", "FINISHED", "3")
    assert [(each.step, each.value) for each in store.get_metric_history(first.run_id, "loss")] == [(1, 2.0), (2, 1.0)]


def test_a_server_that_takes_no_numbers_does_not_stop_training(store, capsys):
    tracker = Tracker("toy", {})
    store.delete_run(tracker.run_id)
    tracker.log(1, {"loss": 2.0})
    tracker.flush()
    assert capsys.readouterr().out.startswith("MLflow did not take 1 numbers: ")
