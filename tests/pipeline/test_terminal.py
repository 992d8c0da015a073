"""The user's data on a terminal: as it is, and nothing that a terminal would obey."""

import io

import pytest
from rich.table import Table

from pipeline.terminal import Terminal, harmless


def printed(*what):
    out = io.StringIO()
    Terminal(file=out, width=200, force_terminal=True, color_system=None).print(*what)
    return out.getvalue()


@pytest.mark.parametrize("text", ["Sofa [grey]", "[/x]", "[bold]", "a :smile: b", "é 沙发"])
def test_terminal_shows_text_as_it_is_in_lines_and_tables(text):
    table = Table(text)
    table.add_row(text)
    assert text in printed(text)
    assert printed(table).count(text) == 2


@pytest.mark.parametrize("odd", ["\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\x08", "\r", "\u202e"])
def test_terminal_sends_no_control_character_of_the_data(odd):
    table = Table("title")
    table.add_row(f"a{odd}b")
    for shown in (printed(f"a{odd}b"), printed(table)):
        assert not any(character in shown for character in odd if not character.isprintable())
        assert harmless(odd) in shown


def test_harmless_leaves_lines_and_tabs():
    assert harmless("a\tb\nc\x1b") == "a\tb\nc\\x1b"
