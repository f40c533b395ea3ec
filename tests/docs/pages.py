"""What the tests of the documentation read from its pages."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "cluster" / "README.md", *(ROOT / "docs").rglob("*.md")]
)

FENCED = re.compile(r"^( *)```sh\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}\S.*\n)+(?: {8}.*\n)*", re.MULTILINE)


def commands(page: Path) -> list[str]:
    """Every shell command that a page shows, whole, without its comment."""
    text = page.read_text()
    blocks = [block for _, block in FENCED.findall(text)]
    blocks += INDENTED.findall(re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True)
class Call:
    """A command of ours on a page: VARIABLE=VALUE ptsam-auto NAME WORDS."""

    variables: dict[str, str]
    name: str
    words: list[str]


def calls(page: Path) -> list[Call]:
    """Every `ptsam-auto` command that a page shows, in their order."""
    found = []
    for command in commands(page):
        words = shlex.split(command, comments=True)
        if "ptsam-auto" not in words:
            continue
        before = words[: words.index("ptsam-auto")]
        if all(re.fullmatch(r"[A-Z_]+=\S*", word) for word in before):
            name, *words = words[len(before) + 1 :]
            found.append(Call(dict(word.split("=", 1) for word in before), name, words))
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that are files here, without what stands behind a #."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
