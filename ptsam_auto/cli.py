"""Arguments in, messages out. What takes long to import is imported by the command that needs it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ptsam_auto.errors import PtsamError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn the Segment Anything Model into a specialist for your images, from about 16 annotated ones.",
)

DatasetFolder = Annotated[Path, typer.Argument(help="Annotated images: images/ + masks/, Cellpose, COCO or nnU-Net.")]
SpecialistFolder = Annotated[Path, typer.Argument(help="A folder that fit wrote.")]
BackboneFile = Annotated[
    str | None, typer.Option("--backbone", help="The checkpoint it was made with, if that has moved.")
]
Device = Annotated[str | None, typer.Option(help="As torch names it; by default a GPU if there is one.")]
SamMethod = Literal["ptsam", "cellseg1", "autosam", "samed"]
Address = Annotated[
    str | None, typer.Option(help="Of a running Ray cluster, as Ray has it; by default $RAY_ADDRESS or this machine.")
]
Track = Annotated[bool, typer.Option(help="Log to MLflow: ./mlflow.db, or where MLFLOW_TRACKING_URI points.")]
AllowBlank = Annotated[
    bool, typer.Option("--allow-blank-masks", help="Accept masks that are all background or all foreground.")
]


@contextmanager
def _interruptible(what_goes_on: str) -> Iterator[None]:
    """Ctrl-C ends a command as a user expects it: a line that says how to go on, and the shell's exit code for it."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. The same command {what_goes_on}.", err=True)
        raise typer.Exit(130) from None


@app.command()
def fit(
    dataset: DatasetFolder,
    out: Annotated[Path | None, typer.Option(help="Where the specialist goes; by default ./NAME-specialist.")] = None,
    test: Annotated[
        Path | None, typer.Option(help="Annotated images to measure on; by default 20 % are held out.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="auto (ViT-B if it can be had, else nano), vit_b, vit_l, vit_h, nano or a checkpoint.")
    ] = "auto",
    method: Annotated[
        Literal[SamMethod, "nnunet"], typer.Option(help="PTSAM, or one of its rivals from the paper.")
    ] = "ptsam",
    adapt: Annotated[
        Literal["decoder", "encoder"] | None,
        typer.Option(help="Adapt SAM's mask decoder only, or its image encoder too; see `defaults`."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Replace a default: recipe.epochs=10, nnunet.epochs=10."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the start and the augmentation.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished specialist.")] = False,
    allow_blank: AllowBlank = False,
    device: Device = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images a step; the learning rate follows by the square root.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Train together, on Ray; they share out each step's images.")] = 1,
    storage: Annotated[
        str | None, typer.Option(help="Where several workers keep checkpoints: a shared folder, s3://...")
    ] = None,
    address: Address = None,
    track: Track = True,
) -> None:
    """Make a specialist from a folder of annotated images. Nothing needs to be set.

    Interrupted and started again, it continues where it was.
    """
    changes = _settings(settings or [])
    from ptsam_auto.pipeline import fit
    from ptsam_auto.show import Show

    with _interruptible("continues from the last epoch"):
        fit(
            dataset,
            out=out,
            test=test,
            backbone=backbone,
            method=method,
            adapt=adapt,
            settings=changes,
            seed=seed,
            force=force,
            allow_blank=allow_blank,
            device=device,
            batch_size=batch_size,
            workers=workers,
            storage=storage,
            address=address,
            track=track,
            show=Show(),
        )


@app.command()
def predict(
    specialist: SpecialistFolder,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Where masks go: NAME.png, 0 and 255, at the image's own size.")] = Path(
        "masks"
    ),
    overlays: Annotated[Path | None, typer.Option(help="Also write each image with its mask drawn in, here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace masks that this specialist did not make.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Predict side by side, on Ray; each loads SAM once.")] = 1,
    address: Address = None,
    backbone: BackboneFile = None,
    device: Device = None,
) -> None:
    """Write the masks of new images.

    Interrupted and started again, it writes what is missing.
    """
    from ptsam_auto.predicting import Loading, predict_files
    from ptsam_auto.show import Show
    from ptsam_auto.specialist.masks import Destination

    loading, to = Loading(specialist, backbone, device), Destination(out, overlays, replace=force)
    with _interruptible("writes the masks that are missing"):
        predict_files(loading, images, to, Show(), workers, address)


@app.command()
def evaluate(
    specialist: SpecialistFolder,
    dataset: DatasetFolder,
    out: Annotated[Path | None, typer.Option(help="Also write the scores here, as JSON.")] = None,
    allow_blank: AllowBlank = False,
    backbone: BackboneFile = None,
    device: Device = None,
) -> None:
    """Measure a specialist on annotated images."""
    from ptsam_auto.predicting import evaluate_folder
    from ptsam_auto.show import Show
    from ptsam_auto.specialist.artifact import load_specialist

    loaded = load_specialist(specialist, backbone=backbone, device=device)
    evaluate_folder(loaded, dataset, out, allow_blank, Show())


SpaceName = Annotated[
    str, typer.Argument(help="A YAML file, or one that comes with the package: smoke, decoder, encoder, prompt_counts.")
]
SearchData = Annotated[
    list[Path], typer.Option("--data", help="Annotated images to search on, never to quote a score on; again for more.")
]
SearchOut = Annotated[Path | None, typer.Option(help="Where the search goes; by default ./NAME-search or -ablation.")]
SearchBackbone = Annotated[str | None, typer.Option("--backbone", help="In place of the space's; as fit takes it.")]
AtOnce = Annotated[
    int | None, typer.Option(min=1, help="Trials side by side; by default as many as there is room for.")
]


@app.command()
def search(
    space: SpaceName,
    data: SearchData,
    out: SearchOut = None,
    trials: Annotated[int | None, typer.Option(min=1, help="In place of the space's; more carry a search on.")] = None,
    backbone: SearchBackbone = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what is proposed.")] = 0,
    at_once: AtOnce = None,
    address: Address = None,
    allow_blank: AllowBlank = False,
    track: Track = True,
) -> None:
    """Look for better defaults on datasets that are not the user's own.

    Interrupted and started again, it continues where it was.
    """
    _search(
        space,
        data,
        out=out,
        trials=trials,
        backbone=backbone,
        seed=seed,
        at_once=at_once,
        address=address,
        allow_blank=allow_blank,
        track=track,
    )


@app.command()
def ablate(
    space: SpaceName,
    data: SearchData,
    out: SearchOut = None,
    backbone: SearchBackbone = None,
    at_once: AtOnce = None,
    address: Address = None,
    allow_blank: AllowBlank = False,
    track: Track = True,
) -> None:
    """Try every combination of a space's values, each to its end, on every split: the exhaustive form of search.

    Interrupted and started again, it continues where it was.
    """
    _search(
        space,
        data,
        exhaustive=True,
        out=out,
        backbone=backbone,
        at_once=at_once,
        address=address,
        allow_blank=allow_blank,
        track=track,
    )


def _search(space: str, data: list[Path], **options: Any) -> None:  # noqa: ANN401 - those of `search`
    from ptsam_auto.search.session import search
    from ptsam_auto.show import Show

    with _interruptible("goes on: trials that ended are kept, others continue"):
        search(space, data, **options, show=Show())


@app.command()
def freeze(
    search: Annotated[Path, typer.Argument(help="A folder that search or ablate wrote.")],
    to: Annotated[
        Path | None,
        typer.Option(help="The defaults file; by default $PTSAM_AUTO_DEFAULTS or ~/.config/ptsam-auto/defaults.toml."),
    ] = None,
) -> None:
    """Choose the simplest configuration within one standard error of the best, and make it what fit uses."""
    from ptsam_auto.search.freeze import freeze
    from ptsam_auto.show import Show

    freeze(search, to, Show())


@app.command()
def compare(
    datasets: Annotated[list[Path], typer.Argument(help="Folders of annotated images.")],
    methods: Annotated[
        str,
        typer.Option(
            help="all, or some of ptsam,cellseg1,autosam,ptsam-encoder,cellseg1-encoder,samed,nnunet (by commas)."
        ),
    ] = "all",
    sizes: Annotated[str, typer.Option(help="Training images, by commas.")] = "16,32,64",
    splits: Annotated[int, typer.Option(min=1, help="Of each dataset, each with 20 % to measure on.")] = 3,
    backbone: Annotated[str, typer.Option(help="As fit takes it; by default the preset's, or else auto.")] = "",
    preset: Annotated[str, typer.Option(help="paper: the settings of Sec. 4.1.3, on ViT-B.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="For all SAM methods: recipe.epochs=10; for nnU-Net: nnunet.gpu_memory_gb=1.",
        ),
    ] = None,
    cpu: Annotated[float, typer.Option(help="Cores of each training.")] = 1.0,
    gpu: Annotated[float, typer.Option(min=0, help="GPUs of each training, also a part of one.")] = 0.0,
    threads: Annotated[int, typer.Option(min=1, help="That each training computes with.")] = 1,
    out: Annotated[Path, typer.Option(help="Where tables and figures go.")] = Path("comparison"),
    at_once: AtOnce = None,
    address: Address = None,
    allow_blank: AllowBlank = False,
    track: Track = True,
) -> None:
    """Compare the paper's methods on datasets, under one budget: its Table 2 and its figures.

    Interrupted and started again, it continues where it was.
    """
    if not all(size.strip().isdigit() for size in sizes.split(",")):
        raise typer.BadParameter(f"{sizes!r} is not a list of numbers, such as 16,32,64.", param_hint="--sizes")
    changes = _settings(settings or [])
    from ptsam_auto.compare.session import Comparison
    from ptsam_auto.compare.session import compare as run
    from ptsam_auto.show import Show

    asked = Comparison(
        methods=tuple(name.strip() for name in methods.split(",")),
        sizes=tuple(int(size) for size in sizes.split(",")),
        splits=splits,
        backbone=backbone,
        preset=preset,
        settings=changes,
        cpu=cpu,
        gpu=gpu,
        threads=threads,
    )
    with _interruptible("goes on: trainings that ended are kept, others continue"):
        run(
            datasets,
            asked,
            out=out,
            at_once=at_once,
            address=address,
            allow_blank=allow_blank,
            track=track,
            show=Show(),
        )


@app.command()
def example(folder: Annotated[Path, typer.Argument(help="Where the images go; empty or new.")]) -> None:
    """Render 24 annotated images to try things on."""
    from ptsam_auto.data.render import write_example

    write_example(folder)
    typer.echo(f"24 annotated images: {folder}/images and {folder}/masks\nNow: ptsam-auto fit {folder}")


@app.command()
def subset(
    dataset: DatasetFolder,
    out: Annotated[Path, typer.Argument(help="Where the smaller dataset goes; empty or new.")],
    names: Annotated[
        str | None, typer.Option("--list", help="A list of DATASET/splits.json, such as train or test.")
    ] = None,
    first: Annotated[int | None, typer.Option(min=1, help="How many, from the start of the list.")] = None,
) -> None:
    """Copy some of a dataset's images: --list train --first 16."""
    from ptsam_auto.data.subset import listed_names, write_subset

    chosen = None if names is None else listed_names(dataset, names)
    written = write_subset(dataset, out, names=chosen, first=first)
    typer.echo(f"{len(written)} annotated images: {out}/images and {out}/masks")


@app.command()
def defaults(
    backbone: Annotated[str | None, typer.Argument(help="One backbone only: vit_b, vit_l, vit_h or nano.")] = None,
    method: Annotated[SamMethod, typer.Option(help="Whose settings.")] = "ptsam",
) -> None:
    """Show the settings that fit uses, and where each comes from."""
    from rich.table import Table

    from ptsam_auto.show import Show
    from ptsam_auto.training import defaults as frozen

    families = frozen.families()
    own = frozen.user_file()
    if backbone is not None and backbone not in families:
        raise typer.BadParameter(f"{backbone} has no defaults; there are {', '.join(families)}.")
    console = Show().out
    console.print(f"Your own defaults, {own}, {'go before the shipped ones.' if own.exists() else 'do not exist.'}")
    for family in [backbone] if backbone else families:
        unasked = {device: frozen.adaptation(family, device, method) for device in ("cpu", "cuda")}
        console.print(
            f"\n[bold]{family}[/]: unasked, adapts the {unasked['cpu'].value} on a CPU and the "
            f"{unasked['cuda'].value} on a GPU ({unasked['cpu'].source})"
        )
        for adapt in frozen.adaptations(family, method):
            table = Table(title=f"{family}, --method {method} --adapt {adapt}", title_justify="left", title_style="")
            for heading in ("setting", "value", "where it comes from"):
                table.add_column(heading)
            for default in frozen.block(family, adapt, method):
                table.add_row(default.path, str(default.value), default.source)
            console.print(table)
            evidence = frozen.evidence(family, adapt, method)
            if evidence is not None:
                console.print(_evidence(evidence))


def _evidence(found: dict[str, Any]) -> str:
    """What a block was frozen from, for people."""
    sets = ", ".join(f"{one['name']} ({len(one['images'])} images, {one['fingerprint'][:12]})" for one in found["data"])
    return (
        f"Frozen from search {found['search']} of {found['date']}: trial {found['chosen']} is {found['rule']}.\n"
        f"Dice {100 * found['dice']:.1f} +- {100 * found['standard_error']:.1f}, the best "
        f"{100 * found['best_dice']:.1f} +- {100 * found['best_standard_error']:.1f}; trials: {found['trials']}; "
        f"{found['splits']} splits with {found['train_images']} training images of {sets}."
    )


def _settings(texts: list[str]) -> dict[str, Any]:
    """Read PATH=VALUE, the value as TOML does: 10, 0.05, "input"; bare words are text too."""
    import tomllib

    values = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not PATH=VALUE.", param_hint="--set")
        try:
            values[path] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            values[path] = value
    return values


def main() -> None:
    """The command `ptsam-auto`: messages on standard error, exit code 1 for a user's mistake, 2 for usage."""
    try:
        app()
    except PtsamError as error:
        typer.echo(f"{error}", err=True)
        sys.exit(1)
