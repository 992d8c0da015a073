"""How pages for people are written: the templates, and everything from the user's data escaped."""

from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


def write_page(path: Path, template: str, **content: Any) -> None:
    """Write one of the templates; nothing outside the file is referred to."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["amount"] = format_amount
    environment.filters["memory"] = format_memory
    path.write_text(environment.get_template(template).render(**content), encoding="utf-8")


def format_amount(value: Any) -> str:
    """Spell a number for people: thin spaces between thousands, four figures after the point at most."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{value:,.0f}".replace(",", "\u202f")


def format_memory(size: int) -> str:
    """Bytes as GiB or MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
