"""The pages: generated ones are current, links lead somewhere, each page is in the menu, and diagrams can be drawn.

`make docs` checks the links between pages and to headings; here are those that it does not look at.
"""

import re
from pathlib import Path

import mermaidx
import pytest

from txn_assets import environment
from txn_assets.environment import project_root
from txn_assets_tests.reference import pages

DOCS = project_root() / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
DIAGRAMS = [
    pytest.param(diagram, id=f"{page.stem}-{number}")
    for page in (project_root() / "README.md", *PAGES)
    for number, diagram in enumerate(re.findall(r"```mermaid\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize(("path", "text"), [pytest.param(*page, id=page[0].stem) for page in pages()])
def test_generated_page_is_current(path: Path, text: str) -> None:
    """A change of a configuration key or of a command changes the reference."""
    assert path.read_text() == text, "run `make docs` and commit the result"


def test_environment_variables_are_listed() -> None:
    """The reference has every environment variable that the platform reads."""
    source = Path(environment.__file__).read_text()
    read = set(re.findall(r'"(TXN_[A-Z_]+|BUCKET_NAME)"', source))

    listed = re.findall(r"^\| `(\w+)`", (DOCS / "reference" / "environment.md").read_text(), re.MULTILINE)
    assert read == {*listed}


def test_links_to_files() -> None:
    """Every image and file that a page names is there."""
    links = [
        (page, link)
        for page in (*PAGES, *project_root().glob("*.md"))
        for link in re.findall(r"\]\(([^)#:\s]+)[)#]", page.read_text())
    ]

    assert len(links) > 100
    assert not [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]


def test_every_page_is_in_the_menu() -> None:
    """The navigation has every page, and no page that is gone."""
    menu = re.findall(r"[\w/-]+\.md", (project_root() / "mkdocs.yml").read_text().partition("\nnav:")[2])

    assert sorted(menu) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


@pytest.mark.parametrize("diagram", DIAGRAMS)
def test_diagram_can_be_drawn(diagram: str) -> None:
    """Mermaid accepts the diagram."""
    assert mermaidx.render(diagram).svg().startswith("<svg")
