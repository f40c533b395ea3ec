"""No command replaces or removes a file of the user's unasked, wherever the results go."""

import hashlib
import shutil

import pytest

from ptsam_auto.experiment.journal import Journal
from ptsam_auto.files import write_text
from ptsam_auto.records import to_sealed_json
from ptsam_auto.search.record import Ended, Measured, Started
from tests.faults import serial
from tests.search.toys import YAML, ended
from tests.search.toys import record as search_record
from tests.toys import write_folder


@pytest.fixture(scope="module")
def lab(toy, tmp_path_factory):
    """A folder with annotated images, a specialist, and new images."""
    from ptsam_auto import fit

    folder = tmp_path_factory.mktemp("lab")
    few = {"recipe.epochs": 1, "recipe.steps_per_epoch": 2}
    discs = write_folder(folder / "discs", 4)
    fit(discs, out=folder / "specialist", backbone=toy, settings=few, folds=2, track=False)
    write_folder(folder / "new", 2, start=20)
    shutil.rmtree(folder / "new" / "masks")
    few = YAML.replace("trials: 4", "trials: 1").replace("splits: 2", "splits: 1").replace("epochs: 4", "epochs: 1")
    (folder / "toy.yaml").write_text(few)
    _finished_search(folder / "search", toy)
    return folder


def _finished_search(folder, toy):
    """A search with two trials, as `search` writes it."""
    folder.mkdir()
    write_text(folder / "search.json", to_sealed_json(search_record(), indent=2))
    with Journal(folder / "journal.jsonl") as journal:
        for number, dice in enumerate((0.7, 0.6)):
            trial = ended(number, (dice, dice))
            journal.write(Started(number, 0.0, trial.configuration, trial.settings))
            journal.write(Measured(number, 0.0, trial.rungs[0], 1024, 8))
            journal.write(Ended(number, 0.0, "finished"))


COMMANDS = {
    "predict": ["predict", "specialist", "new/images", "--out", "out"],
    "overlays": ["predict", "specialist", "new/images", "--out", "masks", "--overlays", "out"],
    "probability": ["predict", "specialist", "new/images", "--out", "out", "--probability"],
    "uncertainty": ["predict", "specialist", "new/images", "--out", "masks", "--uncertainty", "out"],
    "objects": [
        *["predict", "specialist", "new/images", "--out", "out", "--measure"],
        *["--export", "geojson", "--export", "imagej", "--export", "coco"],
    ],
    "suggest": ["suggest", "specialist", "new/images", "--out", "out"],
    "evaluate": ["evaluate", "specialist", "discs", "--out", "out/scores.json"],
    "freeze": ["freeze", "search", "--to", "out/defaults.toml"],
    "portfolio": ["freeze", "search", "--portfolio", "1", "--to", "out/portfolio.toml"],
    "check": ["check", "discs", "--out", "out/page.html"],
    "fit": [
        *["fit", "discs", "--out", "out", "--backbone", "TOY", "--folds", "2", "--no-track"],
        *["--set", "recipe.epochs=1", "--set", "recipe.steps_per_epoch=2"],
    ],
}


# Here whole folders are the results. Trials and trainings run in this process, because starting Ray takes seconds.
STUDIES = {
    "search": ["search", "toy.yaml", "--data", "discs", "--backbone", "TOY", "--no-track", "--out", "out"],
    "compare": [
        *["compare", "discs", "--backbone", "TOY", "--methods", "ptsam", "--sizes", "2", "--splits", "1"],
        *["--set", "recipe.epochs=1", "--set", "recipe.steps_per_epoch=2", "--set", "recipe.views=2", "--no-track"],
        *["--out", "out"],
    ],
}


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def do(run, toy):
    """Run one of the commands; returns its exit code and standard error."""

    def do(name, *further):
        code, _, err = run(*(toy if word == "TOY" else word for word in (*{**COMMANDS, **STUDIES}[name], *further)))
        return code, err

    return do


@pytest.fixture
def place(lab, tmp_path, monkeypatch):
    """A copy of the lab, which is the working folder."""
    shutil.copytree(lab, tmp_path / "lab")
    monkeypatch.chdir(tmp_path / "lab")
    (tmp_path / "lab" / "out").mkdir()
    return tmp_path / "lab"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["file", "link"])
def test_files_of_the_user_with_the_names_of_results_stay_as_they_are(place, do, name, kind):
    code, err = do(name)
    assert code == 0, err
    written = [path for path in hashes(place / "out") if path.name != "ptsam-auto.json"]
    assert written
    shutil.rmtree(place / "out")
    kept = place / "elsewhere"
    kept.mkdir()
    for number, path in enumerate(written):
        (place / "out" / path).parent.mkdir(parents=True, exist_ok=True)
        ours = place / "out" / path if kind == "file" else kept / str(number)
        ours.write_text(f"notes of the user, {path}")
        if kind == "link":
            (place / "out" / path).symlink_to(ours)
    before = hashes(place)
    code, err = do(name)
    assert code == 1
    after = hashes(place)
    assert {path: after[path] for path in before} == before
    assert "Traceback" not in err


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_takes_no_folder_with_files_of_the_user(place, do, name, monkeypatch):
    serial.use(monkeypatch.setattr)
    (place / "out" / "notes.txt").write_text("notes of the user")
    (place / "out" / "figures").mkdir()
    (place / "out" / "figures" / "history.svg").write_text("a figure of the user")
    before = hashes(place)
    code, err = do(name)
    assert code == 1
    assert "out is not empty and does not contain a" in err
    assert hashes(place) == before


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_changes_nothing_outside_its_folder_and_its_own_folder_is_used_again(place, do, name, monkeypatch):
    serial.use(monkeypatch.setattr)
    before = hashes(place)
    for _ in range(2):
        code, err = do(name)
        assert code == 0, err
        after = hashes(place)
        assert {path: after[path] for path in before} == before
        assert all(path.parts[0] == "out" for path in after.keys() - before.keys())
    notes = place / "out" / "notes.txt"
    notes.write_text("notes that the user has put there later")
    assert do(name)[0] == 0
    assert notes.read_text() == "notes that the user has put there later"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("fit", "portfolio")])
def test_our_own_results_are_made_again(place, do, name):
    assert do(name)[0] == 0
    before = hashes(place / "out")
    code, err = do(name)
    assert code == 0, err
    assert hashes(place / "out").keys() == before.keys()


def test_labels_that_somebody_corrected_are_not_replaced_unless_asked(place, do):
    assert do("objects")[0] == 0
    labels = next((place / "out" / "labels").iterdir())
    labels.write_bytes(labels.read_bytes() + b"corrected")
    before = hashes(place)
    code, err = do("objects")
    assert code == 1
    assert hashes(place) == before
    assert err == (
        f"out/labels/{labels.name} exists, and ptsam-auto did not write it, or somebody has changed it since.\n"
        "Choose another folder for the results, or move what is there.\n"
    )
    assert do("objects", "--force")[0] == 0
    assert hashes(place)[labels.relative_to(place)] != before[labels.relative_to(place)]


def test_what_was_interrupted_while_it_was_written_is_ours(place, do, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out/measurements.html")

    with monkeypatch.context() as patch:
        patch.setattr("ptsam_auto.objects.results.write_summary", full)
        assert do("objects")[0] == 1
    assert (place / "out" / "objects.csv").exists()
    assert do("objects")[0] == 0


def test_a_result_that_was_not_written_in_the_end_is_not_ours(place, do):
    damaged = place / "new" / "images" / "disc21.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:200])
    assert do("objects")[0] == 1, "one image cannot be read"
    damaged.write_bytes(whole)
    labels = place / "out" / "labels" / "disc21.tif"
    assert not labels.exists()
    labels.write_text("labels of the user")
    assert do("objects")[0] == 1
    assert labels.read_text() == "labels of the user"


def test_a_list_of_files_that_is_somebody_elses_is_refused(place, do):
    (place / "out" / "ptsam-auto.json").write_text("{}")
    code, err = do("objects")
    assert code == 1
    assert "out/ptsam-auto.json is not the list of files" in err
    assert (place / "out" / "ptsam-auto.json").read_text() == "{}"


def test_a_link_in_place_of_the_work_folder_of_fit_is_not_followed(place, do):
    (place / "diary").mkdir()
    (place / "diary" / "monday.txt").write_text("notes")
    (place / "out" / "in_progress").symlink_to(place / "diary")
    before = hashes(place)
    code, err = do("fit")
    assert code == 1
    assert "out/in_progress is a link to another folder" in err
    assert hashes(place) == before


def test_images_are_never_replaced_even_if_results_are_forced_into_their_folder(place, run):
    before = hashes(place / "new")
    for words in (["--out", "new/images"], ["--out", "out", "--overlays", "new/images"]):
        assert run("predict", "specialist", "new/images", *words, "--force")[0] == 1
    assert hashes(place / "new") == before
