"""The options of each command, for the command line and for Python. This module does not import slow packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from ptsam_auto import extras
from ptsam_auto.commands.command_line import Argument, Option, read_names, read_numbers, read_settings
from ptsam_auto.compare.presets import PRESETS
from ptsam_auto.data.options import ReadingOptions
from ptsam_auto.device import check_name
from ptsam_auto.errors import ConfigError, DatasetError, Problem, suggestion
from ptsam_auto.objects.kinds import EXPORTS
from ptsam_auto.specialist.layout import REGISTERED, check_finished
from ptsam_auto.tracking.models import CHAMPION
from ptsam_auto.tracking.store import is_wanted
from ptsam_auto.training import defaults

SamMethodName = Literal["ptsam", "cellseg1", "autosam", "samed"]
FitMethodName = Literal[SamMethodName, "nnunet"]
Adaptation = Literal["decoder", "encoder"]

LARGEST_PORT = 65_535
LOOPBACK = "127.0.0.1"

DatasetArgument = Annotated[
    Path,
    Argument(
        "Folder of annotated images: images/ and masks/, or the files of an annotation tool. Run ptsam-auto check to "
        "see how the folder is read."
    ),
]
SpecialistArgument = Annotated[
    Path,
    Argument("Folder of a specialist that fit has written, or one in MLflow: models:/NAME@champion or models:/NAME/2."),
]
CheckpointOption = Annotated[
    str | None,
    Option(
        "Path of the SAM checkpoint that the specialist was trained with, or medsam: and the path of MedSAM's "
        "checkpoint. It is needed only if the file was moved.",
        "--backbone",
    ),
]
DeviceOption = Annotated[
    str | None,
    Option("Device for the computation: cpu, cuda, cuda:0 or mps. Default: the GPU if there is one, else the CPU."),
]
TtaOption = Annotated[
    bool,
    Option(
        "Average the predictions of all flips and quarter turns of each tile (test-time augmentation). It takes eight "
        "times as long.",
        "--tta",
    ),
]
AddressOption = Annotated[
    str | None,
    Option(
        "Address of a running Ray cluster. Default: the environment variable RAY_ADDRESS. If it is not set, Ray is "
        "started on this machine."
    ),
]
TrackOption = Annotated[
    bool | None,
    Option(
        "Log the run to MLflow. It is written to the server or file in MLFLOW_TRACKING_URI, or else to ./mlflow.db. "
        "Default: if MLflow is installed.",
        default=extras.is_installed("track"),
    ),
]
SettingsOption = Annotated[
    Mapping[str, Any],
    Option(
        "Replace one default setting, such as recipe.epochs=10 or nnunet.epochs=10. Can be given more than once.",
        "--set",
        metavar="PATH=VALUE",
        cli_type=list[str] | None,
        parse=read_settings,
    ),
]
WorkersOption = Annotated[int, Option("Number of worker processes. More than one worker is run with Ray.", min_value=1)]
TileOption = Annotated[
    int | None,
    Option(
        "Side of a tile in px of the image. Default: the value that is saved with the specialist. Half of that value "
        "shows the objects to the network twice as large.",
        min_value=16,
    ),
]
AtOnceOption = Annotated[
    int | None,
    Option(
        "Maximum number of trainings that run at the same time. Default: as many as the CPUs and GPUs allow.",
        min_value=1,
    ),
]
SpaceArgument = Annotated[
    str, Argument("Search space: a YAML file, or the name of a search space that comes with the package.")
]
SearchDataOption = Annotated[
    list[Path],
    Option(
        "Folder of annotated images for the search. Do not use these images for a final evaluation. "
        "Can be given more than once."
    ),
]
SpaceBackboneOption = Annotated[
    str | None, Option("Backbone, see fit --backbone. Default: the backbone that the search space names.")
]


@dataclass(frozen=True, kw_only=True)
class ReadingFlags:
    """Options that state how a folder of annotated images is read, for what its files do not state themselves."""

    allow_blank: Annotated[
        bool, Option("Accept masks that contain only background or only foreground.", "--allow-blank-masks")
    ] = False
    categories: Annotated[
        tuple[str, ...],
        Option(
            "Name of a category or class that is foreground. Default: all of them. Can be given more than once.",
            "--category --class",
            metavar="NAME",
            cli_type=list[str] | None,
            parse=tuple,
        ),
    ] = ()
    classes: Annotated[
        bool,
        Option(
            "Tell the categories, or the values of the masks, apart: each is a class of its own. Default: all of them "
            "together are one class, unless classes.json in the folder names several.",
            "--classes",
        ),
    ] = False
    foreground: Annotated[
        tuple[str, ...],
        Option(
            "Mask value that is foreground: a number, or a colour such as #ff0000. Can be given more than once.",
            metavar="VALUE",
            cli_type=list[str] | None,
            parse=tuple,
        ),
    ] = ()
    background: Annotated[
        tuple[str, ...],
        Option(
            "Mask value that is background. Can be given more than once.",
            metavar="VALUE",
            cli_type=list[str] | None,
            parse=tuple,
        ),
    ] = ()
    ignore: Annotated[
        tuple[str, ...],
        Option(
            "Mask value whose pixels are ignored in the training and in the scores. Can be given more than once.",
            metavar="VALUE",
            cli_type=list[str] | None,
            parse=tuple,
        ),
    ] = ()
    channels: Annotated[
        tuple[int, ...],
        Option(
            "Channels of the images that are used as red, green and blue, separated by commas. The first channel is 1.",
            metavar="N,N,N",
            cli_type=str | None,
            parse=read_numbers,
        ),
    ] = ()
    unmasked_are_blank: Annotated[
        bool,
        Option("Treat images without a mask as images that contain only background.", "--unmasked-are-blank"),
    ] = False
    all_annotated: Annotated[
        bool,
        Option("Stop with an error if an image has no mask. Default: such images are left out.", "--all-annotated"),
    ] = False
    groups: Annotated[
        str,
        Option(
            "Groups of images that must not be separated by a split, such as the images of one patient. Give a CSV "
            "file with the columns name and group, or a regular expression whose first capture group is the group of "
            "an image.",
            "--groups --group",
        ),
    ] = ""
    layout: Annotated[str, Option("Layout of the folder. It is needed only if the folder matches two layouts.")] = ""
    scaling: Annotated[
        Literal["each", "set"],
        Option(
            "How images that are not 8-bit are scaled: each image by its own range (each), or all images by the range "
            "of the whole set (set)."
        ),
    ] = "each"

    def reading(self) -> ReadingOptions:
        """Return the same options as the dataclass that `data` uses."""
        return ReadingOptions(**{field.name: getattr(self, field.name) for field in fields(ReadingFlags)})


@dataclass(frozen=True)
class FitOptions(ReadingFlags):
    """Options of `fit`."""

    dataset: DatasetArgument
    out: Annotated[Path | None, Option("Output folder for the specialist. Default: ./NAME-specialist.")] = None
    test: Annotated[
        Path | None,
        Option(
            "Folder of annotated test images. Blank masks are accepted in it. Default: the images that the dataset "
            "itself assigns to a test set, if there are any. All other images are used for the training, and each is "
            "also predicted by a model that was trained without it."
        ),
    ] = None
    minutes: Annotated[
        float,
        Option("Time for trying the members of the portfolio and for the final training, minutes.", min_value=0.1),
    ] = 10.0
    member: Annotated[
        str | None,
        Option(
            "Name of the only member of the portfolio to use, or paper for the settings of the paper. Run ptsam-auto "
            "defaults to see the members. Default: the best of them, or a mixture, is chosen by cross-fitting."
        ),
    ] = None
    folds: Annotated[
        int,
        Option(
            "Number of folds for cross-fitting. 0 trains only; it needs --test.",
            min_value=0,
        ),
    ] = 4
    backbone: Annotated[
        str,
        Option(
            f"Backbone: auto (all that the portfolio uses), {', '.join(defaults.families())}, the path of a "
            "checkpoint, or medsam: and the path of MedSAM's checkpoint."
        ),
    ] = "auto"
    method: Annotated[
        FitMethodName, Option("Training method: PTSAM (ptsam), or another method of the paper's comparison.")
    ] = "ptsam"
    adapt: Annotated[
        Adaptation | None,
        Option(
            "Part of SAM that is adapted: only the mask decoder (decoder), or the mask decoder and the image encoder "
            "(encoder). Run ptsam-auto defaults to see the default."
        ),
    ] = None
    settings: SettingsOption = field(default_factory=dict)
    seed: Annotated[
        int,
        Option(
            "Random seed for the folds, the initial values of the learned parameters and the augmentation.",
            min_value=0,
        ),
    ] = 0
    force: Annotated[bool, Option("Overwrite an existing specialist.", "--force")] = False
    device: DeviceOption = None
    batch_size: Annotated[
        int | None,
        Option(
            "Number of images per training step. The default learning rate is multiplied by the square root of "
            "(new batch size / default batch size).",
            min_value=1,
        ),
    ] = None
    workers: WorkersOption = 1
    storage: Annotated[
        str | None,
        Option("Shared folder or URL (s3://...) for the checkpoints of several workers. It needs --workers 2 or more."),
    ] = None
    address: AddressOption = None
    track: TrackOption = None

    quiet: Annotated[bool, Option("Print nothing but errors, and the result of --json.", "--quiet")] = False
    json: Annotated[
        bool, Option("Print the result as JSON to standard output: scores, interval, members, files.", "--json")
    ] = False

    def __post_init__(self) -> None:
        _require_several_workers(self.workers, {"--storage": self.storage, "--address": self.address})
        _require_extras("fit", self.track, several_workers=self.workers > 1)
        check_name(self.device)
        _check_backbone(self.backbone)


def _require_extras(command: str, track: bool | None, *, several_workers: bool) -> None:
    """Check that Ray and MLflow are installed where they are needed, before any work begins.

    Raises:
        PtsamError: They are not.
    """
    if several_workers:
        extras.require("tune", f"{command} --workers" if command in ("fit", "predict") else command)
    if is_wanted(track):
        extras.require("track", "logging to MLflow")


def _check_backbone(name: str, option: str = "--backbone") -> None:
    """Check the name of a backbone, so that a typing error is found before the folder is read.

    Args:
        name: The name.
        option: Option that gives it.

    Raises:
        ConfigError: It is neither a known name nor looks like a path.
    """
    known = ("auto", *defaults.families())
    if name not in known and not any(mark in name for mark in ("/", "\\", ".", ":")) and not Path(name).exists():
        raise ConfigError(f"{option} is {name}, which is no backbone and no file. {suggestion(name, known)}")


@dataclass(frozen=True)
class CheckOptions(ReadingFlags):
    """Options of `check`."""

    dataset: DatasetArgument
    out: Annotated[Path | None, Option("HTML file for the contact sheet. Default: ./NAME-check.html.")] = None


@dataclass(frozen=True)
class PredictOptions:
    """Options of `predict`."""

    specialist: SpecialistArgument
    images: Annotated[list[Path], Argument("Image files, or folders of image files.")]
    out: Annotated[
        Path | None,
        Option(
            "Output folder for the masks. Masks are PNG files with the values 0 and 255, in the size of the image. "
            "Default: ./NAME-masks, where NAME is the name of the first input."
        ),
    ] = None
    overlays: Annotated[Path | None, Option("Output folder for copies of the images with the mask drawn on top.")] = (
        None
    )
    uncertainty: Annotated[
        Path | None,
        Option(
            "Output folder for maps of the uncertainty (255 is the largest) and a table with the expected Dice of each "
            "image."
        ),
    ] = None
    threshold: Annotated[float, Option("Probability above which a pixel is foreground, above 0 and below 1.")] = 0.5
    probability: Annotated[
        bool, Option("Also write the foreground probability, as TIFF files (float32, 0 to 1).", "--probability")
    ] = False
    instances: Annotated[
        bool,
        Option("Also split touching objects and write one number per object, as OME-TIFF files.", "--instances"),
    ] = False
    measure: Annotated[
        bool,
        Option(
            "Also measure the objects: tables as CSV and Parquet, and measurements.html. It includes --instances.",
            "--measure",
        ),
    ] = False
    export: Annotated[
        list[str],
        Option(
            "Also write the objects for another program: geojson (QuPath), imagej (ROI sets), coco, or ome-zarr "
            "(labels with levels). Can be repeated. "
            "It includes --instances."
        ),
    ] = field(default_factory=list)
    pixel_size: Annotated[
        str | None,
        Option(
            "Side of a pixel of all images, such as 0.65um or 120nm, for measurements in micrometres. Default: what "
            "each file states."
        ),
    ] = None
    smallest: Annotated[
        int | None,
        Option("Area in px below which an object is removed. Default: half of a small training object.", min_value=0),
    ] = None
    largest_hole: Annotated[
        int | None,
        Option("Area in px below which a hole is filled. Default: learned from the training masks.", min_value=0),
    ] = None
    force: Annotated[
        bool,
        Option("Overwrite files that this specialist did not make, or that it made from another image.", "--force"),
    ] = False
    recursive: Annotated[bool, Option("Also use the images in subfolders.", "--recursive")] = False
    workers: WorkersOption = 1
    address: AddressOption = None
    tile: TileOption = None
    tta: TtaOption = False
    backbone: CheckpointOption = None
    device: DeviceOption = None

    def __post_init__(self) -> None:
        _require_several_workers(self.workers, {"--address": self.address})
        _require_extras("predict", False, several_workers=self.workers > 1)
        check_name(self.device)
        if self.tta and self.uncertainty is not None:
            raise ConfigError("--tta and --uncertainty exclude each other; run the command once with each.")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"--threshold is {self.threshold:g}; expected a number above 0 and below 1.")
        for name in self.export:
            if name not in EXPORTS:
                raise ConfigError(f"--export is {name}; expected one of {', '.join(EXPORTS)}.")
        if "ome-zarr" in self.export:
            extras.require_module("zarr", "microscopes", "--export ome-zarr")
        of_objects = {
            "--pixel-size": self.pixel_size, "--smallest": self.smallest, "--largest-hole": self.largest_hole
        }  # fmt: skip
        given = [name for name, value in of_objects.items() if value is not None]
        if given and not self.with_objects:
            raise ConfigError(f"{given[0]} has no effect without objects. Add --instances, --measure or --export.")

    @property
    def with_objects(self) -> bool:
        """Return whether objects are separated."""
        return self.instances or self.measure or bool(self.export)


@dataclass(frozen=True)
class SuggestOptions:
    """Options of `suggest`."""

    specialist: SpecialistArgument
    images: Annotated[list[Path], Argument("Image files without annotation, or folders of image files.")]
    count: Annotated[int, Option("Number of images to suggest.", min_value=1)] = 8
    out: Annotated[Path | None, Option("Output folder for the list and a page with pictures. Default: none.")] = None
    recursive: Annotated[bool, Option("Also use the images in subfolders.", "--recursive")] = False
    backbone: CheckpointOption = None
    device: DeviceOption = None


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export`."""

    specialist: SpecialistArgument
    onnx: Annotated[
        Path | None,
        Option("Output folder for ONNX files: an encoder per backbone, a decoder per member, and onnx.json."),
    ] = None
    bioimageio: Annotated[
        Path | None,
        Option(
            "Output file, FILE.zip: a model package of bioimage.io, for ilastik, deepImageJ, QuPath and others. It "
            "contains the backbones, and no image of yours."
        ),
    ] = None
    int8: Annotated[
        bool, Option("Store and multiply matrices as 8-bit integers: smaller files, other masks.", "--int8")
    ] = False
    images: Annotated[
        list[Path],
        Option(
            "Images, or folders of images, on which the export of --onnx is compared with PyTorch. Can be repeated. "
            "Default: rendered images."
        ),
    ] = field(default_factory=list)
    force: Annotated[bool, Option("Replace an earlier export.", "--force")] = False
    backbone: CheckpointOption = None

    def __post_init__(self) -> None:
        if self.onnx is None and self.bioimageio is None:
            raise ConfigError("export needs to know what to write: --onnx DIR, --bioimageio FILE.zip, or both.")
        if self.images and self.onnx is None:
            raise ConfigError("--images has no effect without --onnx; a package has a rendered test image.")
        if self.bioimageio and self.bioimageio.suffix != ".zip":
            raise ConfigError(f"--bioimageio is {self.bioimageio}; expected a file that ends in .zip.")
        extras.require("onnx", "export")


@dataclass(frozen=True)
class EvaluateOptions(ReadingFlags):
    """Options of `evaluate`."""

    specialist: SpecialistArgument
    dataset: DatasetArgument
    out: Annotated[Path | None, Option("JSON file for the scores.")] = None
    tile: TileOption = None
    tta: TtaOption = False
    backbone: CheckpointOption = None
    device: DeviceOption = None


@dataclass(frozen=True)
class SearchOptions(ReadingFlags):
    """Options of `search`. `exhaustive` and `first` can be set from Python only."""

    space: SpaceArgument
    data: SearchDataOption
    out: Annotated[Path | None, Option("Output folder for the search. Default: ./NAME-search.")] = None
    trials: Annotated[
        int | None,
        Option(
            "Number of configurations to try. A larger number than last time continues a finished search.",
            min_value=1,
        ),
    ] = None
    backbone: SpaceBackboneOption = None
    seed: Annotated[int, Option("Random seed for the choice of configurations.", min_value=0)] = 0
    at_once: AtOnceOption = None
    address: AddressOption = None
    track: TrackOption = None
    exhaustive: bool = False
    first: Sequence[dict[str, Any]] = ()

    def __post_init__(self) -> None:
        _require_extras("search", self.track, several_workers=True)


@dataclass(frozen=True)
class AblateOptions(ReadingFlags):
    """Options of `ablate`: the options of `search` without --trials and --seed."""

    space: SpaceArgument
    data: SearchDataOption
    out: Annotated[Path | None, Option("Output folder for the ablation. Default: ./NAME-ablation.")] = None
    backbone: SpaceBackboneOption = None
    at_once: AtOnceOption = None
    address: AddressOption = None
    track: TrackOption = None


@dataclass(frozen=True)
class FreezeOptions:
    """Options of `freeze`."""

    search: Annotated[Path, Argument("Folder that search or ablate has written.")]
    to: Annotated[
        Path | None,
        Option(
            "File for the default settings or for the portfolio. Default: your own file, which fit reads: the path in "
            "the environment variable PTSAM_AUTO_DEFAULTS or PTSAM_AUTO_PORTFOLIO, or else defaults.toml or "
            "portfolio.toml in ~/.config/ptsam-auto."
        ),
    ] = None
    portfolio: Annotated[
        int | None,
        Option(
            "Save a portfolio of at most this number of configurations that complement each other, instead of the "
            "default settings of one backbone.",
            min_value=1,
        ),
    ] = None
    force: Annotated[bool, Option("Replace an existing portfolio.", "--force")] = False

    def __post_init__(self) -> None:
        if self.force and self.portfolio is None:
            raise ConfigError("--force has no effect without --portfolio. Remove --force, or set --portfolio.")


@dataclass(frozen=True)
class CompareOptions(ReadingFlags):
    """Options of `compare`.

    If a dataset has fewer images than a size, all its training images are used. nnU-Net trains for as many epochs and
    steps as the other methods, unless its own settings say otherwise.

    Raises:
        ConfigError: There is no such preset, or a number is out of range.
    """

    datasets: Annotated[list[Path], Argument("Folders of annotated images.")]
    methods: Annotated[
        tuple[str, ...],
        Option(
            "Methods, separated by commas: all (the methods of the paper), or some of ptsam, cellseg1, autosam, "
            "ptsam-encoder, cellseg1-encoder, samed, nnunet and the control experiments unet, random and otsu.",
            cli_type=str,
            parse=read_names,
            default="all",
        ),
    ] = ("all",)
    sizes: Annotated[
        tuple[int, ...],
        Option(
            "Numbers of training images, separated by commas.", cli_type=str, parse=read_numbers, default="16,32,64"
        ),
    ] = (16, 32, 64)
    splits: Annotated[
        int,
        Option(
            "Number of random splits per dataset. Each split holds out 20 % of the images as test images.", min_value=1
        ),
    ] = 3
    backbone: Annotated[
        str, Option("Backbone, see fit --backbone. Default: the backbone of the preset, or else auto.")
    ] = ""
    preset: Annotated[
        str,
        Option(
            f"Named group of settings: {', '.join(PRESETS)}. The preset paper has the settings of Sec. 4.1.3 on ViT-B."
        ),
    ] = ""
    settings: SettingsOption = field(default_factory=dict)
    cpu: Annotated[float, Option("Number of CPU cores per training. Fractions are allowed.")] = 1.0
    gpu: Annotated[float, Option("Number of GPUs per training. Fractions such as 0.5 are allowed.", min_value=0)] = 0.0
    threads: Annotated[int, Option("Number of CPU threads per training.", min_value=1)] = 1
    out: Annotated[Path, Option("Output folder for the tables and figures.")] = Path("comparison")
    at_once: AtOnceOption = None
    address: AddressOption = None
    track: TrackOption = None

    def __post_init__(self) -> None:
        _require_extras("compare", self.track, several_workers=True)
        if not self.sizes or min(self.sizes) < 1 or self.splits < 1:
            raise ConfigError("--sizes and --splits must be whole numbers, at least 1.")
        if self.preset and self.preset not in PRESETS:
            raise ConfigError(f"There is no preset {self.preset}. {suggestion(self.preset, PRESETS)}")


@dataclass(frozen=True)
class PromoteOptions:
    """Options of `promote`."""

    name: Annotated[str, Argument("Name of the registered model, such as cells-specialist.")]
    version: Annotated[int | None, Option("Version. Default: the newest.", min_value=1)] = None
    alias: Annotated[str, Option("Alias that the version gets.")] = CHAMPION

    def __post_init__(self) -> None:
        extras.require("track", "promote")


@dataclass(frozen=True)
class UiOptions:
    """Options of `ui`."""

    port: Annotated[int, Option("Port on this machine, 1 to 65535.", min_value=1)] = 5000

    def __post_init__(self) -> None:
        extras.require("track", "ui")
        if self.port > LARGEST_PORT:
            raise ConfigError(f"--port is {self.port}; expected 1 to {LARGEST_PORT}.")


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """Options of the page that `serve` and `annotate` show: where it is, its limits, and how it fits."""

    minutes: Annotated[float, Option("Time for a fit that the page starts, minutes.", min_value=0.1)] = 5.0
    fit_backbone: Annotated[
        str, Option("Backbone of a fit that the page starts, see fit --backbone. nano is the fastest.")
    ] = "auto"
    settings: SettingsOption = field(default_factory=dict)
    host: Annotated[
        str, Option("Address at which the page is shown. One that other machines can reach needs --network.")
    ] = LOOPBACK
    port: Annotated[int, Option("Port on this machine, 1 to 65535. 0 takes one that is free.", min_value=0)] = 8300
    network: Annotated[
        bool,
        Option("Allow a --host that other machines can reach, without encryption. It needs --token-file.", "--network"),
    ] = False
    token_file: Annotated[
        Path | None,
        Option(
            "Text file with a secret of at least 16 characters. Whoever opens the page or uses its API must give it."
        ),
    ] = None
    largest_upload: Annotated[int, Option("Largest request in MB (1,000,000 bytes).", min_value=1)] = 256
    megapixels: Annotated[float, Option("Most pixels of one page of an image, millions.", min_value=0.01)] = 36.0
    timeout: Annotated[float, Option("Longest time for an answer, seconds.", min_value=1)] = 120.0
    waiting: Annotated[
        int,
        Option(
            "Number of requests that may wait while one is computed. Further ones are answered with 503.", min_value=0
        ),
    ] = 8
    backbone: CheckpointOption = None
    device: DeviceOption = None

    def __post_init__(self) -> None:
        extras.require("serve", "the page")
        check_name(self.device)
        _check_backbone(self.fit_backbone, "--fit-backbone")
        if self.port > LARGEST_PORT:
            raise ConfigError(f"--port is {self.port}; expected 0 to {LARGEST_PORT}.")


@dataclass(frozen=True)
class ServeOptions(PageOptions):
    """Options of `serve`."""

    specialists: Annotated[
        list[Path],
        Argument(
            "Folders of specialists that fit has written, or ones in MLflow: models:/NAME@champion or models:/NAME/2."
        ),
    ]
    training_images: Annotated[
        Path | None,
        Option(
            "Folder into which corrected masks are saved, as images/ and masks/. A fit that the page starts is trained "
            "on it. Default: none, and masks can be downloaded only."
        ),
    ] = None
    out: Annotated[
        Path | None,
        Option(
            "Output folder for the specialist of the first fit; those that follow have the same name with a number. "
            "Default: ./NAME-specialist, where NAME is the name of the folder of training images."
        ),
    ] = None


@dataclass(frozen=True)
class AnnotateOptions(PageOptions):
    """Options of `annotate`."""

    dataset: Annotated[Path, Argument("Folder with the images, or with the images in images/.")]
    specialist: Annotated[
        Path | None,
        Option("Folder of a specialist that proposes masks from the beginning. Default: the newest of --out, if any."),
    ] = None
    fit_every: Annotated[
        int,
        Option("Number of new masks after which a fit starts by itself. 0: only when you ask for it.", min_value=0),
    ] = 4
    out: Annotated[
        Path | None,
        Option(
            "Output folder for the specialist of the first fit; those that follow have the same name with a number. "
            "Default: ./NAME-specialist, where NAME is the name of the folder."
        ),
    ] = None


@dataclass(frozen=True)
class ExampleOptions:
    """Options of `example`."""

    folder: Annotated[Path, Argument("Output folder for the images. It must be new or empty.")]
    classes: Annotated[
        bool,
        Option("Annotate cells, debris and specks, as three categories in a COCO file. Default: masks of the cells."),
    ] = False


@dataclass(frozen=True)
class SubsetOptions:
    """Options of `subset`."""

    dataset: DatasetArgument
    out: Annotated[Path, Argument("Output folder for the smaller dataset. It must be new or empty.")]
    names: Annotated[
        str | None, Option("Name of a list of images in DATASET/splits.json, such as train or test.", "--list")
    ] = None
    first: Annotated[
        int | None, Option("Number of images that are copied, from the start of the list.", min_value=1)
    ] = None


@dataclass(frozen=True)
class DefaultsOptions:
    """Options of `defaults`."""

    backbone: Annotated[
        str | None,
        Argument("Backbone whose defaults are shown, such as vit_b or nano. Default: the portfolio and all backbones."),
    ] = None
    method: Annotated[SamMethodName, Option("Method whose defaults are shown.")] = "ptsam"


def _require_several_workers(workers: int, cluster_options: Mapping[str, str | None]) -> None:
    """Refuse options that have no effect with one worker.

    Raises:
        ConfigError: There is one worker, and an option of the cluster is set.
    """
    without_effect = [name for name, value in cluster_options.items() if value is not None]
    if workers == 1 and without_effect:
        names = " and ".join(without_effect)
        verb = "has" if len(without_effect) == 1 else "have"
        raise ConfigError(f"{names} {verb} no effect with one worker. Remove {names}, or set --workers 2 or more.")


def check_paths(options: Any) -> None:  # noqa: ANN401 - any dataclass above
    """Check that folders of annotated images, specialist and images exist, before slow packages are imported.

    Raises:
        DatasetError: Some do not exist. The error lists all of them.
        SpecialistError: The specialist is not finished, or is none.
    """
    for specialist in (getattr(options, "specialist", None), *getattr(options, "specialists", ())):
        if specialist is not None and not specialist.as_posix().startswith(REGISTERED):
            check_finished(specialist)
    folders: list[Path] = []
    for name in ("dataset", "datasets", "data", "test"):
        value = getattr(options, name, None)
        folders += value if isinstance(value, list) else [value] if value is not None else []
    missing = [path for path in folders if not path.exists()]
    advice = "Check the path, then run the command again."
    if len(missing) == 1:
        raise DatasetError(missing[0], [Problem("", "no such folder")], advice)
    if missing:
        raise DatasetError(None, [Problem(f"{path}/", "no such folder") for path in missing], advice)
    images = [path for path in getattr(options, "images", ()) if not path.exists()]
    if images:
        raise DatasetError(None, [Problem(str(path), "no such file or folder") for path in images], advice)
