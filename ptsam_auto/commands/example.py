"""The command `example`: writes artificial annotated images."""

from ptsam_auto.commands.options import ExampleOptions
from ptsam_auto.data.render import write_example
from ptsam_auto.terminal import Terminal


def example(options: ExampleOptions, terminal: Terminal) -> None:
    """Write 24 artificial annotated images."""
    folder = options.folder
    write_example(folder, classes=options.classes)
    annotations, rest = ("annotations.json", " --classes") if options.classes else ("masks", "")
    terminal.result(
        f"24 annotated images: {folder}/images and {folder}/{annotations}\nNext step: ptsam-auto fit {folder}{rest}"
    )
