"""The cluster files are what Ray, Kubernetes and Slurm take, and hold nobody's secrets."""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from ptsam_auto.search.space_file import read_space

FOLDER = Path(__file__).parents[2] / "cluster"
LAUNCHER, KUBERNETES = ("on_premise", "aws"), ("raycluster", "rayjob")


def test_every_file_is_looked_at():
    found = {path.name for path in FOLDER.iterdir()}
    assert found == {f"{name}.yaml" for name in (*LAUNCHER, *KUBERNETES)} | {"slurm.sh", "README.md"}


@pytest.mark.filterwarnings("ignore")  # Ray's own
@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_up_takes_it(name):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    validate_config(prepare_config(config))
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]
        assert "RAY_USAGE_STATS_ENABLED=0" in commands[-1]
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


@pytest.mark.parametrize("name", KUBERNETES)
def test_kubernetes_takes_its_pods(name):
    manifest = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    assert (manifest["apiVersion"], manifest["kind"].lower()) == ("ray.io/v1", name)
    assert cluster["rayVersion"] == ray_version()
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert all(isinstance(value, str) for group in groups for value in group["rayStartParams"].values())
    for group in groups:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        (container,) = group["template"]["spec"]["containers"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in group["template"]["spec"]["volumes"]}
        assert container["envFrom"] == [{"secretRef": {"name": "ptsam-auto-mlflow"}}]
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def ray_version():
    import ray

    return ray.__version__


def test_the_commands_in_them_are_ours():
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert "search encoder" in text or path.name in ("slurm.sh", "README.md")
        for word in ("MLFLOW_TRACKING_PASSWORD=", "AWS_SECRET", "http://", "https://"):
            assert word not in text.replace('MLFLOW_TRACKING_PASSWORD="$MLFLOW_TRACKING_PASSWORD"', ""), path.name
    assert read_space("encoder").resources.gpu == 1, "what the files make room for"


def test_the_slurm_script_is_sound():
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, FOLDER / "slurm.sh"], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    usage = subprocess.run(["bash", FOLDER / "slurm.sh", "encoder"], capture_output=True, text=True, check=False)
    assert (usage.returncode, usage.stderr) == (2, "usage: sbatch slurm.sh SPACE OUT DATA [DATA ...]\n")
