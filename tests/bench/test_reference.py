"""The generated tables of docs/reference are those of the command line and the dataclasses."""

from dataclasses import dataclass

import pytest

from bench import reference
from pipeline.cli.application import app


@pytest.mark.parametrize("page", [reference.COMMANDS, reference.CONFIGURATION], ids=lambda page: page.stem)
def test_reference_page_is_what_the_code_says(page, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    assert reference.pages()[page] == page.read_text(encoding="utf-8"), "stale: run `make docs`"


def test_commands_has_every_command_with_its_options():
    text = reference.commands()
    for group in app.registered_groups:
        for command in group.typer_instance.registered_commands if not group.name else ():
            name = (command.name or command.callback.__name__).replace("_", "-")
            assert f"### `microrec {name}`\n" in text
    assert "microrec promote VERSION [--as-of MOMENT]" in text
    assert "| `--deep` | Read and decode every picture, not only a sample of the new ones. |" in text


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section with a key of each kind."""

    needed: str
    """Read docs/decisions/0018-squares.md, `a|b`."""
    missing: float | None = None
    listed: tuple[str, ...] = ("a",)
    """On two
    lines."""


def test_with_sections_renews_the_table_and_keeps_the_words(monkeypatch):
    monkeypatch.setattr(reference, "sections", lambda: [("one", Section)])
    page = (
        "# P\n\n## `[one]`\n\nBefore.\n\n| key | default | |\n|---|---|---|\n| `old` | `1` | x |\n\nAfter.\n\n## More\n"
    )
    assert reference.with_sections(page) == (
        "# P\n\n## `[one]`\n\nBefore.\n\n| key | default | |\n|---|---|---|\n"
        "| `needed` | required | Read [decision 18](../decisions/0018-squares.md), `a\\|b`. |\n"
        "| `missing` | unset |  |\n"
        '| `listed` | `["a"]` | On two lines. |\n'
        "\nAfter.\n\n## More\n"
    )


def test_with_sections_missing_heading_is_named(monkeypatch):
    monkeypatch.setattr(reference, "sections", lambda: [("one", Section)])
    with pytest.raises(ValueError, match=r"## `\[one\]`"):
        reference.with_sections("# P\n")
