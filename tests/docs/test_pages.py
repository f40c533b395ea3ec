"""The pages name commands, options, files and figures that exist."""

import re
import tomllib

import pytest
import yaml
from typer.main import get_command

from ptsam_auto.cli import app
from tests.docs.pages import PAGES, ROOT, calls, links

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


def test_pages_show_commands():
    assert sum(len(calls(page)) for page in PAGES) > 30


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_command_that_is_copied_from_a_page_is_understood(page):
    commands = get_command(app).commands
    for call in calls(page):
        commands[call.name].make_context(call.name, list(call.words))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_link_or_figure_leads_somewhere(page):
    # nano's card is included by docs/results/nano.md; links of included pages are checked where they stand.
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


def test_every_page_can_be_reached_from_the_first():
    listed = set(re.findall(r"^([a-z-]+(?:/[a-z-]+)?)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE))
    pages = [page for suffix in ("md", "ipynb") for page in (ROOT / "docs").rglob(f"*.{suffix}")]
    there = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in pages}
    assert there - {"index"} == listed


def test_every_file_that_a_page_names_exists():
    named = {
        (page, name)
        for page in PAGES
        for name in re.findall(
            r"`((?:ptsam_auto|tests|docs|results|benchmarks|cluster|nano)/[\w./]*)`", page.read_text()
        )
    }
    assert len(named) > 30
    assert sorted(name for page, name in named if not (ROOT / name).exists()) == []


def test_the_floors_of_the_architecture_page_are_those_of_the_import_contract():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    shown = [re.findall(r"`(\w+)`", cell) for cell in re.findall(r"^\| (`[^|]+) \|", page, re.MULTILINE)]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert shown == [re.findall(r"\w+", floor.replace("ptsam_auto.", "")) for floor in floors]


def test_a_set_path_on_a_page_is_a_setting():
    from ptsam_auto.baselines.nnunet import NnunetConfig
    from ptsam_auto.training.settings import types

    known = set(types()) | {f"nnunet.{name}" for name in NnunetConfig.__dataclass_fields__}
    used = {path for page in PAGES for path in re.findall(r"--set[ =\n]+([a-z_]+\.[a-z_]+)=", page.read_text())}
    assert len(used) > 5
    assert used - known == set()


def test_the_citation_names_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_lock_file_holds_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [one for group in project["optional-dependencies"].values() for one in group]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in wanted} - {"ptsam-auto"}
    text = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w-]+)==", text, re.MULTILINE))
    assert {re.sub("[_.]", "-", name.lower()) for name in names} - locked == set()
    assert "://" not in text
