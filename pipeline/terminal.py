"""What a terminal shows: text of the user's data as it is, and nothing that a terminal would obey.

A title such as `Sofa [grey]` is not markup, `:smile:` is not a picture, and an escape sequence is shown, not sent.
"""

import re
from typing import Any

from rich.console import Console
from rich.text import Text

_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and those that change the direction of what stands beside them."""


def harmless(text: str) -> str:
    """Control characters spelled out, `\\x1b` for ESC; everything else as it is."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Terminal(Console):
    """A console for which every text, of a line or of a table's cell, is the user's data."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "markup": False, "emoji": False, "highlight": False})

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich calls this for whatever is printed as `str`."""
        return super().render_str(harmless(text), **{**options, "markup": False, "emoji": False})
