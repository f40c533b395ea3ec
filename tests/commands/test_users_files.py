"""No command replaces or removes a file of the user's unasked, wherever the results go."""

import hashlib
import shutil

import pytest

from ptsam_auto.cli import main
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
    return folder


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
    "check": ["check", "discs", "--out", "out/page.html"],
    "fit": [
        *["fit", "discs", "--out", "out", "--backbone", "TOY", "--folds", "2", "--no-track"],
        *["--set", "recipe.epochs=1", "--set", "recipe.steps_per_epoch=2"],
    ],
}


def hashes(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(monkeypatch, words, toy):
    monkeypatch.setattr("sys.argv", ["ptsam-auto", *(toy if word == "TOY" else word for word in words)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture
def place(lab, tmp_path, monkeypatch):
    """A copy of the lab, which is the working folder."""
    shutil.copytree(lab, tmp_path / "lab")
    monkeypatch.chdir(tmp_path / "lab")
    (tmp_path / "lab" / "out").mkdir()
    return tmp_path / "lab"


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["file", "link"])
def test_files_of_the_user_with_the_names_of_results_stay_as_they_are(place, toy, monkeypatch, capsys, name, kind):
    assert run(monkeypatch, COMMANDS[name], toy) == 0, capsys.readouterr().err
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
    assert run(monkeypatch, COMMANDS[name], toy) == 1
    after = hashes(place)
    assert {path: after[path] for path in before} == before
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "fit"])
def test_our_own_results_are_made_again(place, toy, monkeypatch, capsys, name):
    assert run(monkeypatch, COMMANDS[name], toy) == 0
    before = hashes(place / "out")
    assert run(monkeypatch, COMMANDS[name], toy) == 0, capsys.readouterr().err
    assert hashes(place / "out").keys() == before.keys()


def test_labels_that_somebody_corrected_are_not_replaced_unless_asked(place, toy, monkeypatch, capsys):
    assert run(monkeypatch, COMMANDS["objects"], toy) == 0
    labels = next((place / "out" / "labels").iterdir())
    labels.write_bytes(labels.read_bytes() + b"corrected")
    before = hashes(place)
    capsys.readouterr()
    assert run(monkeypatch, COMMANDS["objects"], toy) == 1
    assert hashes(place) == before
    assert capsys.readouterr().err == (
        f"out/labels/{labels.name} exists, and ptsam-auto did not write it, or somebody has changed it since.\n"
        "Choose another folder for the results, or move what is there.\n"
    )
    assert run(monkeypatch, [*COMMANDS["objects"], "--force"], toy) == 0
    assert hashes(place)[labels.relative_to(place)] != before[labels.relative_to(place)]


def test_what_was_interrupted_while_it_was_written_is_ours(place, toy, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out/measurements.html")

    monkeypatch.setattr("ptsam_auto.objects.results.write_summary", full)
    assert run(monkeypatch, COMMANDS["objects"], toy) == 1
    assert (place / "out" / "objects.csv").exists()
    monkeypatch.undo()
    monkeypatch.chdir(place)
    assert run(monkeypatch, COMMANDS["objects"], toy) == 0


def test_a_list_of_files_that_is_somebody_elses_is_refused(place, toy, monkeypatch, capsys):
    (place / "out" / "ptsam-auto.json").write_text("{}")
    assert run(monkeypatch, COMMANDS["objects"], toy) == 1
    assert "out/ptsam-auto.json is not the list of files" in capsys.readouterr().err
    assert (place / "out" / "ptsam-auto.json").read_text() == "{}"


def test_a_link_in_place_of_the_work_folder_of_fit_is_not_followed(place, toy, monkeypatch, capsys):
    (place / "diary").mkdir()
    (place / "diary" / "monday.txt").write_text("notes")
    (place / "out" / "in_progress").symlink_to(place / "diary")
    before = hashes(place)
    assert run(monkeypatch, COMMANDS["fit"], toy) == 1
    assert "out/in_progress is a link to another folder" in capsys.readouterr().err
    assert hashes(place) == before


def test_images_are_never_replaced_even_if_results_are_forced_into_their_folder(place, toy, monkeypatch):
    before = hashes(place / "new")
    for words in (["--out", "new/images"], ["--out", "out", "--overlays", "new/images"]):
        assert run(monkeypatch, ["predict", "specialist", "new/images", *words, "--force"], toy) == 1
    assert hashes(place / "new") == before
