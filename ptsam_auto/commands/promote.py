"""The command `promote`: says which version of a registered specialist is in use."""

from ptsam_auto.commands.options import PromoteOptions
from ptsam_auto.terminal import Terminal
from ptsam_auto.tracking import models


def promote(options: PromoteOptions, terminal: Terminal) -> models.Promoted:
    """Give a version of a registered specialist an alias, and print which version had it before.

    Raises:
        SpecialistError: MLflow does not have this version, or does not answer.
    """
    done = models.promote(options.name, options.version, options.alias)
    before = "" if done.before in (None, done.version) else f" (before: version {done.before})"
    terminal.result(
        f"{done.name}@{options.alias} is version {done.version} now{before}.\n"
        f"Use it: ptsam-auto predict models:/{done.name}@{options.alias} new_images/"
    )
    return done
