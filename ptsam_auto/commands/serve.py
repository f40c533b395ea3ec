"""The command `serve`: shows a page to try specialists, to correct masks and to fit again."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ptsam_auto.commands.options import PageOptions, ServeOptions
from ptsam_auto.errors import ConfigError
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking.models import local_folder
from ptsam_auto.web import server
from ptsam_auto.web.fits import FitCommand
from ptsam_auto.web.guard import is_loopback
from ptsam_auto.web.limits import Limits
from ptsam_auto.web.pairs_folder import PairsFolder
from ptsam_auto.web.shelf import Shelf
from ptsam_auto.web.site import Site

SHORTEST_TOKEN = 16  # characters
ANY_ADDRESS = ("", "0.0.0.0", "::", "*")


def serve(options: ServeOptions, terminal: Terminal) -> None:
    """Answer requests until Ctrl-C.

    Raises:
        ConfigError: The page would be open to the network without being asked to, or the port is in use.
        SpecialistError: See `load_specialist`.
        OutputError: The folder of training images is annotated in another way than with a mask for each image.
    """
    token = token_of(options)
    training = PairsFolder(options.training_images) if options.training_images else None
    fit = fit_command(options, training, options.out) if training else None
    if options.out is not None and training is None:
        raise ConfigError("--out has no effect without a folder to train on. Add --training-images DIR.")
    with server.listening(options.host, options.port) as listener:
        shelf = Shelf(options.backbone, options.device)
        with terminal.bar("Loading") as update:
            for done, folder in enumerate(options.specialists):
                update(done, len(options.specialists))
                shelf.add(local_folder(folder))
            update(len(options.specialists), len(options.specialists))
        say_address(terminal, server.address_of(listener, options.host), token)
        server.run(Site(shelf, limits_of(options), training, fit=fit), listener, options.host, token)


def limits_of(options: PageOptions) -> Limits:
    """Return the limits that the options give."""
    return Limits(
        upload_bytes=options.largest_upload * 1_000_000,
        pixels=int(options.megapixels * 1_000_000),
        seconds=options.timeout,
        waiting=options.waiting,
    )


def token_of(options: PageOptions) -> str | None:
    """Return the token, or None where none is needed.

    Raises:
        ConfigError: Other machines could reach the page, and that was not asked for or no token is given; or the token
            cannot be used.
    """
    if options.host in ANY_ADDRESS:
        raise ConfigError(f'--host is "{options.host}"; expected one address of this machine, such as 192.168.0.7.')
    if not is_loopback(options.host):
        if not options.network:
            raise ConfigError(
                f"--host {options.host} may be reached by other machines, without encryption.\n"
                "If that is meant, add --network and --token-file FILE. Safer is ssh -L 8300:localhost:8300 MACHINE"
            )
        if options.token_file is None:
            raise ConfigError(f"--host {options.host} needs a secret. Add --token-file FILE.")
    if options.token_file is None:
        return None
    try:
        token = options.token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"--token-file {options.token_file} cannot be read: {reason}.") from None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or any(character.isspace() for character in token):
        raise ConfigError(
            f"--token-file {options.token_file} holds no usable secret; expected one line of at least {SHORTEST_TOKEN} "
            "letters and digits, such as from: openssl rand -hex 16"
        )
    return token


def fit_command(options: PageOptions, pairs: PairsFolder, out: Path | None) -> FitCommand:
    """Return how the page starts a fit on a folder."""
    out = out if out is not None else Path(f"{pairs.folder.resolve().name}-specialist")

    def words(specialist: Path) -> Sequence[str]:
        command = [sys.executable, "-m", "ptsam_auto.commands.fit_reported", str(pairs.folder)]
        command += ["--out", str(specialist)]
        command += ["--minutes", f"{options.minutes:g}", "--backbone", options.fit_backbone]
        # An image on which nothing is painted, and which is called done, shows nothing to be found.
        command += ["--allow-blank-masks", "--no-track"]
        command += ["--foreground", "255"] if pairs.are_all_painted() else []
        command += ["--device", options.device] if options.device else []
        for path, value in options.settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            command += ["--set", f"{path}={text}"]
        return command

    return FitCommand(out, words)


def say_address(terminal: Terminal, address: str, token: str | None) -> None:
    """Print where the page is."""
    suffix = "#token=SECRET, with the secret of --token-file in place of SECRET," if token else ""
    terminal.say(f"Open {address}{suffix} in a browser. Ctrl-C ends it. The API: {address}openapi.json")
