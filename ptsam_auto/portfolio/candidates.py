"""The candidates of a fit: the members of the portfolio that this machine can use, or the user's own configuration."""

from collections.abc import Sequence
from dataclasses import replace

from ptsam_auto import registry
from ptsam_auto.data.dataset import Pair
from ptsam_auto.errors import BackboneError, ConfigError
from ptsam_auto.experiment.backbone import choose_backbone
from ptsam_auto.portfolio import members
from ptsam_auto.portfolio.members import Member
from ptsam_auto.portfolio.task import Candidate
from ptsam_auto.registry import Choices
from ptsam_auto.sam.checkpoint import Backbone
from ptsam_auto.terminal import Terminal

PORTFOLIO_METHOD = "ptsam"


def candidates_for(
    method: str, choices: Choices, member: str | None, images: Sequence[Pair], terminal: Terminal
) -> list[Candidate]:
    """Return the candidates, at least one.

    If the user names a member, a method, an adaptation, a setting or a backbone that the portfolio does not have, that
    configuration is the only candidate. Otherwise these are the members of the portfolio, or those on the backbone that
    the user names.

    Args:
        method: Name of the method.
        choices: Choices of the user.
        member: Name of a member of the portfolio, or None.
        images: All training and test images; they are compared with those that the defaults were selected on.
        terminal: Terminal for messages.

    Raises:
        BackboneError: The backbone that the user names is not available, or none of those of the portfolio.
        ConfigError: There is no such member, or two choices exclude each other.
    """
    if member is not None:
        named = members.frozen().named(member)
        _check_alone(named, method, choices)
        return [_of_member(named, choices, images, terminal)]
    insists = method != PORTFOLIO_METHOD or choices.adapt or choices.settings or choices.batch_size is not None
    portfolio = [] if insists else _available(choices)
    if portfolio:
        loaded: dict[str, Backbone] = {}
        candidates: list[Candidate] = []
        for one in portfolio:
            try:
                if one.backbone not in loaded:
                    loaded[one.backbone] = choose_backbone(one.backbone, terminal)
            except BackboneError as error:
                if choices.backbone != "auto" or (one is portfolio[-1] and not candidates):
                    raise
                terminal.say(f"{one.name} is left out: {str(error).splitlines()[0]}")
                continue
            candidates.append(_candidate(one, loaded[one.backbone], choices, images))
        return candidates
    known = registry.method(method)
    backbone = choose_backbone(choices.backbone, terminal) if known.needs_backbone else None
    return [Candidate(method, known.plan(choices, backbone, images), backbone)]


def _check_alone(member: Member, method: str, choices: Choices) -> None:
    """Raise ConfigError if the user names a member and something else that the member itself decides."""
    decided = {
        "--method": (method, PORTFOLIO_METHOD),
        "--adapt": (choices.adapt, member.adapt),
        "--backbone": (choices.backbone, member.backbone),
    }
    for option, (wanted, own) in decided.items():
        if wanted not in (None, "auto", own) and own != "auto":
            raise ConfigError(f"The member {member.name} has {own}, not {wanted}. Remove {option} or --member.")


def _available(choices: Choices) -> list[Member]:
    """Return the members that the user's backbone and device allow."""
    gpu = choices.device.startswith("cuda")
    wanted = [one for one in members.frozen().members if choices.backbone in ("auto", one.backbone)]
    return [one for one in wanted if gpu or not one.needs_gpu]


def _of_member(member: Member, choices: Choices, images: Sequence[Pair], terminal: Terminal) -> Candidate:
    name = choices.backbone if member.backbone == "auto" else member.backbone
    return _candidate(member, choose_backbone(name, terminal), choices, images)


def _candidate(member: Member, backbone: Backbone, choices: Choices, images: Sequence[Pair]) -> Candidate:
    own = replace(
        choices,
        backbone=member.backbone,
        adapt=member.adapt,
        settings={**member.settings, **choices.settings},
    )
    plan = registry.method(PORTFOLIO_METHOD).plan(own, backbone, images)
    return Candidate(member.name, plan, backbone, doubling=member.doubling, fewest_steps=member.fewest_steps)
