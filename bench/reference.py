"""Write the generated tables of docs/reference: `python -m bench.reference`, which `make docs` runs.

commands.md gets the commands from the command line's own parser, between two comments. configuration.md gets the table
of each section from the dataclass that owns it: names, defaults and the line below each field. Everything else on these
pages is written by hand and stays.
"""

import ast
import dataclasses
import inspect
import json
import re
import typing
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer.main

DOCS = Path("docs")
COMMANDS, CONFIGURATION = DOCS / "reference/commands.md", DOCS / "reference/configuration.md"
BEGIN, END = "<!-- commands: written by make docs -->", "<!-- end of commands -->"
TABLE = "| key | default | |\n|---|---|---|\n"
EVERYWHERE = ("config", "overrides", "as_json", "help")
"""Parameters of every command; the page says what they do once."""


def main() -> None:
    """Write both pages anew."""
    for page, renewed in pages().items():
        page.write_text(renewed, encoding="utf-8")
        print(f"written: {page}")


def pages() -> dict[Path, str]:
    """Each page as it should be."""
    return {
        COMMANDS: with_commands(COMMANDS.read_text(encoding="utf-8")),
        CONFIGURATION: with_sections(CONFIGURATION.read_text(encoding="utf-8")),
    }


def with_commands(page: str) -> str:
    """The page with the parser's commands between its two comments."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{commands()}\n{END}{after}"


def commands() -> str:
    """Every command: a table for each purpose, then usage and options of each."""
    from pipeline.cli.application import app

    tree = typer.main.get_command(app)
    leaves = list(_leaves(tree, ""))
    purposes = dict.fromkeys(purpose for _, purpose, _ in leaves)
    overview = []
    for purpose in purposes:
        rows = [f"| [`{name}`](#{_anchor(name)}) | {_summary(leaf)} |" for name, of, leaf in leaves if of == purpose]
        overview += [f"**{purpose}**", "", "| command | |", "|---|---|", *rows, ""]
    return "\n".join(["## All commands", "", *overview, *(_described(name, leaf) for name, _, leaf in leaves)])


def _leaves(group: Any, prefix: str, purpose: str = "") -> Iterator[tuple[str, str, Any]]:
    """Name, purpose and parser of each command, those of a group behind the group itself."""
    for name, command in group.commands.items():
        of = getattr(command, "rich_help_panel", None) or purpose
        of = of if isinstance(of, str) else purpose
        if not hasattr(command, "commands"):
            yield f"{prefix}{name}", of, command
            continue
        if command.invoke_without_command:
            yield f"{prefix}{name}", of, command
        yield from _leaves(command, f"{prefix}{name} ", of)


def _anchor(name: str) -> str:
    return f"microrec-{name.replace(' ', '-')}"


def _summary(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _described(name: str, command: Any) -> str:
    """One command under its heading."""
    own = [one for one in command.params if one.name not in EVERYWHERE and not getattr(one, "hidden", False)]
    usage = " ".join([f"microrec {name}", *(_usage(one) for one in own)])
    rest = [" ".join(part.split()) for part in (command.help or "").split("\n\n")]
    rows = [f"| `{'`, `'.join(_spelled(one))}` | {_default(one)}{one.help or ''} |" for one in own]
    table = ["| | |", "|---|---|", *rows, ""] if rows else []
    words = [line for part in rest if part for line in (part, "")]
    return "\n".join([f"### `microrec {name}`", "", "```", usage, "```", "", *words, *table])


def _spelled(option: Any) -> list[str]:
    return list(option.opts) if _is_option(option) else [option.metavar or option.name.upper()]


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _usage(parameter: Any) -> str:
    """A parameter as a line of usage has it."""
    if not _is_option(parameter):
        return str(_spelled(parameter)[0])
    flag = parameter.opts[-1]
    text = flag if parameter.is_flag else f"{flag} {parameter.metavar or parameter.name.upper()}"
    return text if parameter.required else f"[{text}]"


def _default(parameter: Any) -> str:
    if not _is_option(parameter) or parameter.required or parameter.is_flag or parameter.default in (None, ""):
        return ""
    return f"Default `{parameter.default}`. "


def with_sections(page: str) -> str:
    """The page with each section's table made of its dataclass; the section's own words stay.

    Raises: ValueError: a section has no heading on the page, or no table under it.
    """
    for section, owner in sections():
        heading = f"## `[{section}]`\n"
        before, found, rest = page.partition(heading)
        body, mark, after = rest.partition("\n## ")
        if not found or TABLE not in body:
            raise ValueError(f"{CONFIGURATION}: write {heading.strip()!r} and, under it, {TABLE!r}")
        kept, _, old = body.partition(TABLE)
        tail = re.sub(r"\A(\|.*\n)*", "", f"{old}\n" if not mark and not old.endswith("\n") else old)
        page = f"{before}{heading}{kept}{TABLE}{_rows(owner)}{tail}{mark}{after}"
    return page


def sections() -> list[tuple[str, type]]:
    """Every section of the configuration with the dataclass that owns it."""
    from features.modality import ModalityConfig
    from pipeline.config.config import Config

    return [*_sections_of(Config, ""), ("modalities.<name>", ModalityConfig)]


def _sections_of(owner: Any, prefix: str) -> Iterator[tuple[str, type]]:
    for name, kind in typing.get_type_hints(owner).items():
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            yield f"{prefix}{name}", kind
            yield from _sections_of(kind, f"{prefix}{name}.")


def _rows(owner: Any) -> str:
    """A line for each key; sections within this one, and `tune.space`, have headings of their own."""
    words, kinds = field_words(owner), typing.get_type_hints(owner)
    lines = []
    for field in dataclasses.fields(owner):
        if not dataclasses.is_dataclass(kinds[field.name]) and field.name != "space":
            lines.append(f"| `{field.name}` | {_shown(field)} | {_linked(words.get(field.name, ''))} |\n")
    return "".join(lines)


def _shown(field: Any) -> str:
    """The default as TOML spells it."""
    if field.default_factory is not dataclasses.MISSING:
        return f"`{json.dumps(field.default_factory())}`"
    if field.default is dataclasses.MISSING:
        return "required"
    return "unset" if field.default is None else f"`{json.dumps(field.default, ensure_ascii=False)}`"


def field_words(owner: type) -> dict[str, str]:
    """The text below each field of a dataclass, on one line."""
    (tree,) = ast.parse(inspect.getsource(owner)).body
    words = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            words[field.target.id] = " ".join(str(ast.literal_eval(below.value)).split())
    return words


def _linked(words: str) -> str:
    """Paths of pages as links from docs/reference; a bar would end the cell."""

    def link(found: re.Match[str]) -> str:
        path, anchor = found[1], found[2] or ""
        number = re.match(r"decisions/0*(\d+)-", path)
        text = f"decision {number[1]}" if number else Path(path).name
        return f"[{text}](../{path}{anchor})"

    return re.sub(r"docs/([\w/-]+\.md)(#[\w-]+)?", link, words).replace("|", "\\|")


if __name__ == "__main__":
    main()
