"""The code on the pages of `docs/how-to/stores`, run as it is written."""

import re
from pathlib import Path

STORES = Path(__file__).parents[1] / "docs/how-to/stores"


def blocks(page, language, before=None):
    """The blocks of one language: of a page of that name, or of a file; those before a heading where one is named."""
    text = (page if isinstance(page, Path) else STORES / f"{page}.md").read_text().partition(before or "\0")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_page(page, folder, monkeypatch, before=None):
    """The names that a page's Python code leaves; of the code before a heading where one is named."""
    monkeypatch.chdir(folder)
    names = {}
    for block in blocks(page, "python", before):
        exec(compile(block, f"{page}.md", "exec"), names)
    return names
