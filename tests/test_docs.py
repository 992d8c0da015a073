"""The documentation holds together: links, anchors, ways from the README, lengths. `make docs` builds it as well."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from bench.sentences import measure

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OUTSIDE = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = sorted(DOCS.rglob("*.md"))
MOST_WORDS = 1500
"""Of a page of explanation."""


def prose(page):
    """The page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page):
    """Targets of a page's links, without code."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [found for found in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", found)]


def anchors(page):
    """What headings are linked by, as GitHub and mkdocs.yml's slugify make it; of a repeated one the first."""
    headings = re.findall(r"^#{1,6} (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def target(page, link):
    path, _, anchor = link.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


def names(pages):
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("page", [*OUTSIDE, *PAGES], ids=names([*OUTSIDE, *PAGES]))
def test_docs_links_and_anchors_lead_somewhere(page):
    for link in links(page):
        file, anchor = target(page, link)
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link
        assert page in OUTSIDE or file.is_relative_to(DOCS), f"{link}: the built site has docs/ only"
        assert page in OUTSIDE or file.is_file(), f"{link}: the built site lists no folder"


def test_docs_anchors_follow_github():
    page = DOCS / "reference/commands.md"
    assert {"register---again", "checks-of-the-input", "microrec-champion-free"} <= anchors(page)


def test_docs_every_page_is_two_clicks_from_the_readme():
    one = {target(ROOT / "README.md", link)[0] for link in links(ROOT / "README.md")}
    two = {target(page, link)[0] for page in one if page.suffix == ".md" for link in links(page)}
    assert set(PAGES) - one - two == set()


def test_docs_questions_of_a_newcomer_have_pages():
    page = DOCS / "measurements/questions.md"
    rows = re.findall(r"^\| (\d+) \| .*? \| \[.*?\]\((.*?)\) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    assert {target(page, link)[0] for _, link in rows} <= set(PAGES)


def test_docs_navigation_names_every_page_once():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    named = Counter(re.findall(r"- ([\w/-]+\.md)$", text, re.MULTILINE))
    decisions = {name for name in (str(page.relative_to(DOCS)) for page in PAGES) if name.startswith("decisions/0")}
    assert named == Counter({str(page.relative_to(DOCS)) for page in PAGES} - decisions)


def test_docs_decisions_are_all_listed():
    listed = {target(DOCS / "decisions/README.md", link)[0].name for link in links(DOCS / "decisions/README.md")}
    assert {page.name for page in (DOCS / "decisions").glob("0*.md")} <= listed


@pytest.mark.parametrize("page", sorted((DOCS / "explanation").glob("*.md")), ids=lambda page: page.stem)
def test_docs_explanation_is_short(page):
    assert measure(page.read_text(encoding="utf-8")).words <= MOST_WORDS


def test_docs_pages_that_the_code_names_exist():
    for folder in ("bench", "configs", "dags", "deploy", "features", "model", "pipeline"):
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in {".py", ".toml", ".yml", ".yaml", ".env"}:
                for page, anchor in re.findall(r"docs/([\w/-]+\.md)(?:#([\w-]+))?", file.read_text(encoding="utf-8")):
                    assert (DOCS / page).exists(), f"{file}: docs/{page}"
                    assert not anchor or anchor in anchors(DOCS / page), f"{file}: docs/{page}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_docs_lists_stand_apart_from_the_paragraph_before(page):
    """GitHub takes a list right below a line of text for one, the built site does not."""
    lines = prose(page).splitlines()
    for before, line in pairwise(lines):
        if re.match(r"([-*]|\d+\.) ", line) and before.strip() and not before.startswith(("<", "|")):
            assert re.match(r"([-*]|\d+\.) |\s", before), line
