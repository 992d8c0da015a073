"""How the cells of an item become the text that an encoder reads."""

from collections.abc import Iterable


def joined(cells: Iterable[str | None]) -> str:
    """Cells joined by blanks, white space folded, empty ones left out; empty where there is nothing in them."""
    return " ".join(" ".join(filter(None, cells)).split())
