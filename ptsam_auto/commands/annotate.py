"""The command `annotate`: shows a page in which masks are painted, with a specialist that learns from them."""

from ptsam_auto.commands.options import AnnotateOptions
from ptsam_auto.commands.serve import fit_command, limits_of, say_address, token_of
from ptsam_auto.errors import SpecialistError
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.models import local_folder
from ptsam_auto.web import server
from ptsam_auto.web.annotation import AnnotationFolder
from ptsam_auto.web.boxes import Boxes
from ptsam_auto.web.shelf import Shelf
from ptsam_auto.web.site import Site


def annotate(options: AnnotateOptions, terminal: Terminal) -> None:
    """Answer requests until Ctrl-C.

    Raises:
        ConfigError: The page would be open to the network without being asked to, or the port is in use.
        DatasetError: There are no images in the folder.
        OutputError: The folder is annotated in another way than with a mask for each image.
        SpecialistError: See `load_specialist`.
    """
    token, limits = token_of(options), limits_of(options)
    folder = AnnotationFolder(options.dataset, limits.pixels)
    fit = fit_command(options, folder.pairs, options.out)
    with server.listening(options.host, options.port) as listener:
        shelf = Shelf(options.backbone, options.device)
        earlier = [local_folder(options.specialist)] if options.specialist else fit.finished()[-1:]
        if earlier:
            classes = shelf.add(earlier[0]).specialist.classes
            if classes:
                raise SpecialistError(
                    f"{earlier[0]} finds several classes ({', '.join(classes)}), but masks of one class are painted.\n"
                    "Name another --specialist, or fit one for a single class with --class NAME."
                )
            terminal.say(f"Masks are proposed by {earlier[0]}.")
        for problem in folder.left_out:
            terminal.say(f"Left out: {problem.where}  {problem.what}")
        terminal.say(
            f"{len(folder.items)} images, {folder.count_done()} of them with a mask, in {folder.pairs.images}/."
        )
        say_address(terminal, server.address_of(listener, options.host), token)
        own = None if options.specialist else shelf.get(None)
        # With a specialist from elsewhere, the masks that are there are not new; without any, all of them are.
        fitted_on = len(own.specialist.record.data.train) if own else folder.count_done() if options.specialist else 0
        site = Site(shelf, limits, folder.pairs, folder, fit, Boxes(options.device), options.fit_every, fitted_on)
        server.run(site, listener, options.host, token)
