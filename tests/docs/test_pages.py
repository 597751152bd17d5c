"""The pages as a whole: every link leads somewhere, and the reference says what the product says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "hack" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", _without_code(page.read_text()))
    lost = [target for target in targets if "://" not in target and not _leads(page, target)]
    assert lost == []


def _leads(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    aim = (page.parent / path).resolve() if path else page
    if not aim.exists():
        return False
    return not anchor or anchor in {_anchor(line) for line in _headings(aim.read_text())}


def _headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", _without_code(text), flags=re.MULTILINE)


def _anchor(heading: str) -> str:
    """As GitHub makes it: lower case, punctuation dropped, spaces as hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def test_every_page_is_reached_from_the_index_or_the_readme() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md", ROOT / "docs" / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            aim = (page.parent / target).resolve()
            ahead.append(aim / "README.md" if aim.is_dir() else aim)
    assert [str(page.relative_to(ROOT)) for page in PAGES if page not in seen] == []


def test_the_reference_says_what_the_product_says(reference: ModuleType) -> None:
    differing = [
        path.name
        for path, text in reference.pages().items()
        if not path.exists() or path.read_text() != text
    ]
    assert differing == [], "run make generate"


def test_the_reference_names_every_reason_and_every_command(reference: ModuleType) -> None:
    assert "| `WaitingForGPUs` |" in reference.outcomes()
    assert "## slackwater explain" in reference.commands()
    assert "| `gpu.count`\\* | integer, 1 to " in reference.fields()
    assert "`slackwater_occurrences_total` | counter | `namespace`, `name`, `state`, `reason`" in (
        reference.metrics()
    )
