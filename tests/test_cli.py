"""The command line as a user meets it: quick help, whole messages, exit codes, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.toys import sample, write_folder

QUICK = ["--no-track", *(f"--set=recipe.{setting}" for setting in ("epochs=2", "steps_per_epoch=2", "views=2"))]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def no_masks(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()


def wrong_size(folder):
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(folder / "masks" / "disc01.png")


def text_called_png(folder):
    (folder / "images" / "disc01.png").write_text("hello")


def truncated_tiff(folder):
    (folder / "images" / "disc01.png").unlink()
    path = folder / "images" / "disc01.tif"
    tifffile.imwrite(path, sample(1).image)
    path.write_bytes(path.read_bytes()[:3000])


def empty_file(folder):
    (folder / "masks" / "disc01.png").write_bytes(b"")


def blank_mask(folder):
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "masks" / "disc01.png")


def two_masks(folder):
    Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(folder / "masks" / "disc01.tif")


def several(folder):
    (folder / "masks" / "disc00.png").write_bytes(b"")
    text_called_png(folder)


@pytest.mark.parametrize(("spoil", "problems"), [
    (no_masks, ["no masks; expected one for each of 3 files, such as masks/disc00.png"]),
    (wrong_size, ["masks/disc01.png  9 x 9 px, but its image is 64 x 48 px"]),
    (text_called_png, ["images/disc01.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file"]),
    (truncated_tiff, ["images/disc01.tif  damaged, cut short or of an unusual kind; export it again as PNG or TIFF"]),
    (empty_file, ["masks/disc01.png  an empty file (0 bytes); copy it again from its source"]),
    (blank_mask, ["masks/disc01.png  blank: every pixel is background; "
                  "if that is right, accept it with --allow-blank-masks"]),
    (two_masks, ["masks/disc01.tif  a second mask for the image images/disc01.png, beside masks/disc01.png; keep one"]),
    (several, ["images/disc01.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file",
               "masks/disc00.png   an empty file (0 bytes); copy it again from its source"]),
])  # fmt: skip
def test_a_folder_with_problems_gets_one_message_and_leaves_nothing_behind(run, tmp_path, spoil, problems):
    write_folder(tmp_path / "data", 3)
    spoil(tmp_path / "data")
    code, _, err = run("fit", "data", "--backbone", "nano")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    message = err[err.index("data/ has") :]
    assert code == 1
    assert message.splitlines() == [
        f"data/ has {count}:",
        *(f"  {problem}" for problem in problems),
        "Fix or remove these files, then run the command again.",
    ]
    assert not (tmp_path / "data-specialist").exists()


def test_blank_masks_can_be_accepted(run, tmp_path, toy):
    write_folder(tmp_path / "data", 3)
    blank_mask(tmp_path / "data")
    assert run("fit", "data", "--backbone", toy, "--allow-blank-masks", *QUICK)[0] == 0


def test_an_unwritable_output(run, tmp_path, discs):
    (tmp_path / "file").touch()
    code, _, err = run("fit", discs, "--out", "file/specialist")
    assert (code, err) == (1, "Cannot write to file/specialist: Not a directory.\nChoose another --out.\n")


def test_a_wrong_checkpoint(run, discs, tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    code, _, err = run("fit", discs, "--backbone", "notes.pth")
    assert code == 1
    assert err.endswith(
        "notes.pth is not a SAM checkpoint (UnpicklingError).\n"
        "Expected a .pth or .safetensors file with segment_anything's tensors: "
        "image_encoder.*, prompt_encoder.*, mask_decoder.*.\n"
    )
    assert not (tmp_path / "discs-specialist").exists()


def test_a_misspelt_setting(run, discs, toy):
    code, _, err = run("fit", discs, "--backbone", toy, "--set", "recipe.epoch=3")
    assert code == 1
    assert err.endswith("There is no setting recipe.epoch. Did you mean recipe.epochs?\n")


@pytest.mark.parametrize(
    "wrong",
    [
        ["fit"],
        ["fit", "x", "--adapt", "both"],
        ["fit", "x", "--method", "unet"],
        ["fit", "x", "--set", "novalue"],
        ["fly"],
    ],
)
def test_wrong_usage_exits_with_2(run, wrong):
    assert run(*wrong)[0] == 2


def test_stopping_says_how_to_continue(run, discs, toy, monkeypatch):
    from ptsam_auto.training import loop

    monkeypatch.setattr(loop, "epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    code, _, err = run("fit", discs, "--backbone", toy, *QUICK)
    assert code == 130
    assert err.endswith("Stopped. The same command continues from the last epoch.\n")


STARTED = """
import os, signal, sys, threading, time
sys.argv = ["ptsam-auto", "--version"]
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == WHERE:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(9)
sys.meta_path.insert(0, Slow())
from ptsam_auto.start import main
main()
"""


@pytest.mark.parametrize("imported", ["ptsam_auto.cli", "typer"])
def test_stopping_while_packages_are_imported_is_no_traceback(imported):
    done = subprocess.run(
        [sys.executable, "-c", STARTED.replace("WHERE", repr(imported))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "\nStopped.\n")


def test_stopping_twice_ends_at_once():
    program = "import os, time, ptsam_auto.cli\nfrom ptsam_auto import start\n"
    program += "def slow():\n try: os.kill(os.getpid(), 2)\n finally: os.kill(os.getpid(), 2); time.sleep(30)\n"
    program += "ptsam_auto.cli.main = slow\nstart.main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=25)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_disk_that_gets_full_anywhere_is_a_message(run, discs, toy, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "out/in_progress/ready")

    monkeypatch.setattr("ptsam_auto.commands.fit._images", full)
    code, _, err = run("fit", discs, "--out", "out", "--backbone", toy, *QUICK)
    assert code == 1
    assert err.startswith(
        "The disk is full (or your quota is used up): out/in_progress/ready cannot be written.\nFree "
    )


def test_fit_predict_evaluate(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    new = write_folder(tmp_path / "new", 2, start=20)
    code, _, err = run("predict", "discs-specialist", new / "images", "--out", "found", "--overlays", "seen")
    assert code == 0
    assert err.endswith("2 masks written: found/\n")
    mask = np.asarray(Image.open("found/disc20.png"))
    assert mask.shape == (48, 64)
    assert set(np.unique(mask)) <= {0, 255}
    assert np.asarray(Image.open("seen/disc20.png")).shape == (48, 64, 3)

    code, out, _ = run("evaluate", "discs-specialist", new, "--out", "scores.json")
    assert code == 0
    assert "mean over images" in out
    assert len(json.loads((tmp_path / "scores.json").read_text())["images"]) == 2


def test_medsams_file_that_was_moved_is_given_with_its_prefix(run, discs, toy, tmp_path):
    old = tmp_path / "medsam.safetensors"
    shutil.copy(toy, old)
    assert run("fit", discs, "--backbone", "medsam:medsam.safetensors", *QUICK)[0] == 0
    predict = ["predict", "discs-specialist", discs / "images" / "disc00.png", "--out"]
    assert run(*predict, "before")[0] == 0
    old.rename(tmp_path / "moved.safetensors")
    code, _, err = run(*predict, "missing")
    assert code == 1
    assert err == (
        f"discs-specialist cannot be used: medsam:{old} names no file. Expected medsam: and the path of MedSAM's "
        "checkpoint, such as medsam:medsam_vit_b.pth.\n"
        "Give the checkpoint that it was trained with (--backbone FILE), or run fit again.\n"
    )
    code, _, err = run(*predict, "without", "--backbone", "moved.safetensors")
    assert code == 1
    assert err.startswith(f"discs-specialist was trained with the backbone medsam:{old} (SHA-256 ")
    assert run(*predict, "after", "--backbone", "medsam:moved.safetensors")[0] == 0
    masks = [(tmp_path / folder / "disc00.png").read_bytes() for folder in ("before", "after")]
    assert masks[0] == masks[1]


def test_an_image_that_cannot_be_read_does_not_stop_the_others(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    (discs / "images" / "disc02.png").write_text("hello")
    code, _, err = run("predict", "discs-specialist", discs / "images")
    assert code == 1
    assert len(list((tmp_path / "images-masks").iterdir())) == 5
    assert err.endswith(
        "5 masks written: images-masks/\n"
        "1 problem:\n"
        f"  {discs}/images/disc02.png  holds text; expected the content of a PNG, JPEG, BMP or TIFF file\n"
        "All other masks are written. Fix or remove these files, then run the command again.\n"
    )


def test_an_interrupted_prediction_goes_on(run, discs, toy, tmp_path, monkeypatch):
    from ptsam_auto.data.formats import sources

    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    really, seen = sources.look_at_image, []

    def stops(path, *how):
        seen.append(path.name)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return really(path, *how)

    monkeypatch.setattr(sources, "look_at_image", stops)
    code, _, err = run("predict", "discs-specialist", discs / "images")
    assert code == 130
    assert err.endswith("\nStopped. The same command writes the masks that are missing.\n")
    assert sorted(path.name for path in (tmp_path / "images-masks").iterdir()) == [f"disc0{i}.png" for i in range(3)]
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "images-masks").iterdir()}
    code, _, err = run("predict", "discs-specialist", discs / "images")
    assert code == 0
    assert err.endswith("3 masks written: images-masks/ (3 existed already)\n")
    assert (
        times.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "images-masks").iterdir()}.items()
    )
    assert seen[3:] == ["disc03.png", "disc03.png", "disc04.png", "disc05.png"]

    Image.fromarray(sample(40).image).save(discs / "images" / "disc01.png")  # another picture under the old name
    code, _, err = run("predict", "discs-specialist", discs / "images")
    assert code == 1
    assert (
        "images-masks/disc01.png exists and was made from another image of this name; overwrite it with --force\n"
        in err
    )
    predict = ("predict", "discs-specialist", discs / "images", "--force")
    assert run(*predict)[2].endswith("1 masks written: images-masks/ (5 existed already)\n")
    assert run("predict", "discs-specialist", discs / "images", "--overlays", "seen")[2].endswith(
        "6 masks written: images-masks/\n"
    )


@pytest.mark.parametrize("name", ["masks/disc00.png", "overlays/disc00.png", "masks/probability/disc00.tif"])
def test_a_damaged_result_is_made_again(run, discs, toy, tmp_path, name):
    """It has the metadata of a whole one, so it was kept as one."""
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    words = ("--out", "masks", "--overlays", "overlays", "--probability")
    predict = ("predict", "discs-specialist", discs / "images", *words)
    assert run(*predict)[0] == 0
    path = tmp_path / name
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[-30] ^= 4
    for content in (bytes(damaged), whole[:-20]):
        path.write_bytes(content)
        code, _, err = run(*predict)
        assert (code, path.read_bytes()) == (0, whole), err
        assert "1 masks written: masks/ (5 existed already)" in err


def test_masks_of_others_are_replaced_only_when_asked(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    by_hand = discs / "masks" / "disc02.png"
    before = by_hand.read_bytes()
    predict = ("predict", "discs-specialist", discs / "images" / "disc02.png", "--out", discs / "masks")
    code, _, err = run(*predict)
    assert (code, by_hand.read_bytes()) == (1, before)
    assert err.endswith(
        f"  {discs}/images/disc02.png  {by_hand} exists and was not made by this specialist; "
        "overwrite it with --force\n"
        "All other masks are written. Fix or remove these files, then run the command again.\n"
    )
    assert run(*predict, "--force")[0] == 0
    assert by_hand.read_bytes() != before
    assert run("fit", discs, "--backbone", toy, "--seed", 1, "--out", "other", *QUICK)[0] == 0
    assert run("predict", "other", *predict[2:])[0] == 1, "made by another specialist"


def test_two_images_of_one_name_would_share_a_mask(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    other = write_folder(tmp_path / "other", 1)
    code, _, err = run("predict", "discs-specialist", discs / "images", "gone.png", "lost/")
    assert (code, err) == (
        1,
        "2 problems:\n  gone.png  no such file or folder\n  lost      no such file or folder\n"
        "Check the path, then run the command again.\n",
    )
    code, _, err = run("predict", "discs-specialist", discs / "images", other / "images")
    assert code == 1
    assert err.endswith(
        "1 problem:\n"
        f"  {other}/images/disc00.png  would overwrite the mask of {discs}/images/disc00.png: both are disc00; "
        "rename one\n"
        "Fix or remove these files, then run the command again.\n"
    )


def test_a_stack_gives_a_mask_a_page(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    stack = np.stack([sample(i).image[..., 0] for i in range(6)])
    tifffile.imwrite(tmp_path / "stack.tif", stack, metadata={"axes": "ZYX"})
    assert run("predict", "discs-specialist", "stack.tif")[0] == 0
    assert sorted(path.name for path in (tmp_path / "stack-masks").iterdir()) == [f"stack_p00{i}.png" for i in range(6)]


@pytest.mark.slow
def test_a_large_folder_takes_no_more_memory_than_a_small_one(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, *QUICK)[0] == 0
    peaks = []
    for count in (4, 64):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        for number in range(count):  # 12 MB each once they are read
            Image.fromarray(np.full((2000, 2000, 3), number, np.uint8)).save(folder / f"{number}.png")
        command = [Path(sys.executable).with_name("ptsam-auto"), "predict", "discs-specialist", folder]
        process = subprocess.Popen(
            [*map(str, command), "--out", f"of-{count}", "--tile", "2000"], stderr=subprocess.DEVNULL
        )
        _, process.returncode, usage = os.wait4(process.pid, 0)
        assert process.returncode == 0
        assert len(list((tmp_path / f"of-{count}").iterdir())) == count
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 150, f"MB: {peaks}; 60 more images are 720"


def test_a_rivals_specialist_predicts_too(run, discs, toy, tmp_path):
    assert run("fit", discs, "--backbone", toy, "--method", "cellseg1", *QUICK)[0] == 0
    assert run("predict", "discs-specialist", discs / "images", "--out", "found")[0] == 0
    assert len(list((tmp_path / "found").iterdir())) == 6


def test_subset_and_example(run, discs, tmp_path):
    (discs / "splits.json").write_text(json.dumps({"train": ["disc03", "disc01", "disc00"]}))
    code, out, _ = run("subset", discs, "few", "--list", "train", "--first", 2)
    assert (code, out) == (0, "2 annotated images: few/images and few/masks\n")
    assert sorted(path.name for path in (tmp_path / "few" / "masks").iterdir()) == ["disc01.png", "disc03.png"]
    assert run("example", "drawn")[0] == 0
    assert len(list((tmp_path / "drawn" / "masks").iterdir())) == 24
    code, _, err = run("example", "drawn")
    assert code == 1
    assert err.startswith("drawn")


def test_light_commands_import_neither_torch_nor_ray():
    program = (
        "import sys; from ptsam_auto import cli; sys.argv = ['ptsam-auto', *{!r}.split()]\n"
        "try: cli.main()\n"
        "finally: print(bool({{'torch', 'ray', 'mlflow', 'fastapi'}} & set(sys.modules)))"
    )
    light = (
        "--help",
        "defaults",
        "search --help",
        "fit nowhere",
        "search smoke --data nowhere",
        "predict nowhere a.png",
        "serve nowhere",
        "annotate nowhere",
    )
    for command in light:
        done = subprocess.run(
            [sys.executable, "-c", program.format(command)], capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_search_and_freeze_say_what_is_wrong(run, discs, toy, tmp_path):
    code, _, err = run("search", "smok", "--data", discs)
    assert code == 1
    assert err.endswith("smok is neither a file nor a search space. Did you mean smoke?\n")
    code, _, err = run("freeze", discs)
    assert (code, err) == (1, f"{discs} is not a search: it has no search.json.\nTo make one, run: ptsam-auto search\n")
    assert run("search", "smoke")[0] == 2, "without data"
    code, _, err = run("ablate", "smoke", "--data", discs, "--backbone", toy)
    assert code == 1
    assert "search.recipe.learning_rate  a grid needs single values, but this range is continuous; use choice" in err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "discs") == []


def test_stopping_a_search_says_how_to_go_on(run, discs, toy, monkeypatch):
    from ptsam_auto.search import tuner

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tuner, "run_trials", stopped)
    code, _, err = run("search", "smoke", "--data", discs, "--backbone", toy, "--no-track")
    assert code == 130
    assert err.endswith("\nStopped. The same command continues: finished trials are kept, the others resume.\n")


def test_defaults_show_the_portfolio_first_and_where_it_comes_from(run):
    from ptsam_auto.portfolio import members

    code, out, _ = run("defaults")
    assert code == 0
    assert out.startswith(f"The portfolio is the built-in one ({members.user_file()} does not exist).\n")
    order = [out.index(name) for name in ("nano-whole", "nano-encoder-tiles-4", "You have no defaults of your own")]
    assert order == sorted(order)
    evidence = {"search": "ours", "date": "2026-11-25", "rule": "the best", "trials": "7 finished", "splits": 1}
    evidence |= {"train_images": 16, "mean_loss": 0.012}
    evidence["data"] = [{"name": "cells", "fingerprint": "f" * 64, "images": ["a" * 12]}]
    member = members.Member("tiny-member", "nano", "decoder", {"recipe.epochs": 7}, dice={"cells": 0.812}, seconds=41.3)
    members.write(members.user_file(), members.Portfolio((member,), evidence), force=False)
    _, out, _ = run("defaults")
    for words in (
        "tiny-member",
        "recipe.epochs 7",
        "cells 81.2",
        " 41 ",
        "the search ours of 2026-11-25",
        "loses 1.2 points",
    ):
        assert words in out
    assert "nano-encoder-tiles-4" not in out
    assert "tiny-member" not in run("defaults", "nano")[1]


@pytest.mark.parametrize(("backbone", "shown"), [("nano", False), ("/lab/ours.safetensors", True)])
def test_a_setting_of_a_member_that_is_the_default_is_not_shown_as_a_difference(run, backbone, shown):
    """The defaults of one's own checkpoint are not known without loading it, so all settings are shown."""
    from ptsam_auto.portfolio import members
    from ptsam_auto.training import defaults

    settings = {"method.tiles": defaults.values("nano", "decoder")["method.tiles"], "recipe.epochs": 7}
    member = members.Member("ours", backbone, "decoder", settings)
    members.write(members.user_file(), members.Portfolio((member,)), force=False)
    code, out, _ = run("defaults")
    portfolio = out[: out.index("You have no defaults of your own")]
    assert code == 0
    assert "recipe.epochs 7" in portfolio
    assert ("method.tiles" in portfolio) == shown


def test_defaults_say_where_each_value_comes_from(run):
    code, out, _ = run("defaults", "vit_b")
    assert code == 0
    assert "recipe.learning_rate" in out
    assert "paper, Sec. 4.1.3" in out
    assert run("defaults", "resnet")[0] == 2
    code, out, _ = run("defaults", "vit_b", "--method", "samed")
    assert code == 0
    assert "--method samed --adapt encoder" in out
    assert "--adapt decoder" not in out


@pytest.mark.parametrize(("words", "message"), [
    (("fit", "--address", "auto"),
     "--address has no effect with one worker. Remove --address, or set --workers 2 or more.\n"),
    (("fit", "--method", "nnunet", "--storage", "s3://b", "--address", "auto"),
     "--storage and --address have no effect with one worker. Remove --storage and --address, or set --workers 2 or "
     "more.\n"),
    (("predict", "--address", "auto"),
     "--address has no effect with one worker. Remove --address, or set --workers 2 or more.\n"),
])  # fmt: skip
def test_cluster_options_with_one_worker_are_not_silently_ignored(run, discs, words, message):
    command, *rest = words
    arguments = (discs, discs) if command == "predict" else (discs,)
    code, _, err = run(command, *arguments, *rest)
    assert (code, err) == (1, message)


def test_the_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("ptsam-auto 0.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cudaa"], "--device is cudaa; expected cpu, cuda, cuda:0 (the first of several GPUs) or mps."),
        (["--backbone", "nanno"], "--backbone is nanno, which is no backbone and no file. Did you mean nano?"),
    ],
)
def test_a_typing_error_is_found_before_the_folder_is_read(run, tmp_path, words, message):
    assert run("fit", tmp_path / "unread", *words) == (1, "", message + "\n")


def test_a_device_that_this_machine_does_not_have(run, discs, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = run("fit", discs, "--device", "cuda:1")
    assert (code, err.splitlines()[-1]) == (
        1, "--device is cuda:1, but this machine has no GPU that PyTorch can use. Choose another device, or cpu."
    )  # fmt: skip
