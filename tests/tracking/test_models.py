"""Specialists in MLflow's registry: used by their name, and one of their versions in use."""

import json
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
from PIL import Image

from ptsam_auto import fit, load_specialist
from ptsam_auto.errors import SpecialistError
from ptsam_auto.tracking.models import Promoted, local_folder, promote
from tests.toys import write_folder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # MLflow's own
QUICK = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2, "recipe.views": 2}


@pytest.fixture(scope="module")
def registered(toy, tmp_path_factory):
    """A store with two versions of one specialist; the second had one more image."""
    folder = tmp_path_factory.mktemp("registered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/lab.db")
        patch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)
        patch.chdir(folder)
        mlflow.set_tracking_uri(None)
        for version in (1, 2):
            cells = write_folder(folder / "cells", 3 + version)
            fit(cells, out=folder / "cells-specialist", backbone=toy, settings=QUICK, folds=2, track=True, force=True)
            shutil.copytree(folder / "cells-specialist", folder / f"v{version}")
            shutil.rmtree(cells)
    return folder


@pytest.fixture
def lab(registered, tmp_path, monkeypatch):
    """A copy of the store, so that each test has its own aliases; the artifacts stay where they are."""
    shutil.copy(registered / "lab.db", tmp_path / "lab.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/lab.db")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)
    return registered


def test_the_version_in_use_predicts_by_its_name(lab, tmp_path, run):
    new = write_folder(tmp_path / "new", 1, start=30) / "images"
    code, told, _ = run("promote", "cells-specialist", "--version", 1)
    assert (code, told.splitlines()[0]) == (0, "cells-specialist@champion is version 1 now.")
    code, told, _ = run("promote", "cells-specialist")
    uri = "models:/cells-specialist@champion"
    assert (code, told.splitlines()) == (
        0,
        [
            "cells-specialist@champion is version 2 now (before: version 1).",
            f"Use it: ptsam-auto predict {uri} new_images/",
        ],
    )
    code, _, err = run("predict", uri, new, "--out", "masks")
    assert code == 0, err
    image = np.asarray(Image.open(new / "disc30.png"))
    mask = np.asarray(Image.open(tmp_path / "masks" / "disc30.png")) > 0
    assert np.array_equal(mask, load_specialist(lab / "v2").predict(image))
    assert load_specialist(local_folder_of(uri)).record == load_specialist(lab / "v2").record
    assert load_specialist(local_folder_of("models:/cells-specialist/1")).record == load_specialist(lab / "v1").record


def local_folder_of(uri):
    return local_folder(Path(uri))


def test_an_alias_of_ones_own(lab):
    assert promote("cells-specialist", 1, "microscope-2") == Promoted("cells-specialist", 1, None)
    assert promote("cells-specialist", 1, "microscope-2") == Promoted("cells-specialist", 1, 1)


@pytest.mark.parametrize("name", ["models:/cells/1", "models:/cells-specialist@champion", "models:/cells-specialist/9"])
def test_what_is_not_registered_is_named_beside_what_is(lab, name):
    with pytest.raises(SpecialistError) as error:
        local_folder_of(name)
    assert str(error.value) == (
        f"MLflow does not have {name}. There are: cells-specialist.\n"
        "Check the name, and that MLFLOW_TRACKING_URI names the right store."
    )


def test_an_unknown_version_is_not_promoted(lab):
    with pytest.raises(SpecialistError, match=r"does not have cells-specialist, version 7\. There are: cells-spec"):
        promote("cells-specialist", 7)


def test_a_model_of_somebody_else_is_no_specialist(lab, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    client = mlflow.MlflowClient()
    client.create_registered_model("other")
    client.create_model_version("other", str(tmp_path / "model"))
    with pytest.raises(SpecialistError, match="is not a specialist that ptsam-auto fit has logged"):
        local_folder_of("models:/other/1")


def test_mlflows_server_answers_with_mask_and_probability(lab, tmp_path):
    from fastapi.testclient import TestClient
    from mlflow.pyfunc.scoring_server import init

    image = np.asarray(Image.open(write_folder(tmp_path / "new", 1, start=30) / "images" / "disc30.png"))
    client = TestClient(init(mlflow.pyfunc.load_model("models:/cells-specialist/2")))
    asked = client.post("/invocations", json={"inputs": image[None].tolist()})
    assert asked.status_code == 200, asked.text
    answer = json.loads(asked.text)["predictions"]
    made = load_specialist(lab / "v2")
    assert np.array_equal(np.array(answer["mask"][0], bool), made.predict(image))
    assert np.allclose(answer["probability"][0], made.probability(image), atol=1e-5)
