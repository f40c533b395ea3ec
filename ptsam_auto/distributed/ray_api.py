"""All imports from Ray. Environment variables are set first, because Ray reads them when it is imported."""

import os

# Values that the user has already set are not changed.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Interval in seconds at which Ray Train polls its workers. A report may be delayed by as much.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.3",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Timeout in seconds for a worker to finish a trial before the next one starts. Ray's default of 2 s is too short on
    # a busy machine.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
import ray.data  # noqa: E402
import ray.train  # noqa: E402
from ray import tune  # noqa: E402
from ray.train.torch import TorchTrainer, get_device  # noqa: E402
from ray.tune.integration.ray_train import TuneReportCallback  # noqa: E402
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402
from ray.util.placement_group import (  # noqa: E402
    PlacementGroup,
    get_current_placement_group,
    remove_placement_group,
)

__all__ = [
    "ASHAScheduler",
    "FIFOScheduler",
    "PlacementGroup",
    "Searcher",
    "TorchTrainer",
    "TrialScheduler",
    "TuneReportCallback",
    "get_current_placement_group",
    "get_device",
    "ray",
    "remove_placement_group",
    "tune",
]
