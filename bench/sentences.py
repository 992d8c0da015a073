"""How long the sentences of the documentation are: `python -m bench.sentences [--before COMMIT]`.

Prints a table of Markdown: for each page its words, mean and longest sentence, with `--before` also as they were in a
commit, renames followed. A sentence is what ends with `.`, `!`, `?` or the block: a paragraph, a list's item, a cell of
a table. Code, addresses and cells of fewer than five words are left out: they are no prose.
"""

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs")
LEAST_OF_A_CELL = 5


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One page."""

    words: int
    sentences: int
    longest: int
    """Words of the longest sentence."""

    @property
    def mean(self) -> float:
        """Words of a sentence."""
        return self.words / max(self.sentences, 1)


def measure(markdown: str) -> Measured:
    """Count a page's words and sentences."""
    lengths = [length for block in blocks(markdown) for length in sentence_lengths(block)]
    return Measured(words=sum(lengths), sentences=len(lengths), longest=max(lengths, default=0))


def blocks(markdown: str) -> list[str]:
    """The blocks of prose: paragraphs, items of lists, cells of tables."""
    text = re.sub(r"^( *)```.*?^\1```$", "", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    found: list[str] = []
    open_block: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins = not line.strip() or re.match(r"\s*([-*>|#]|\d+\.)\s*", line)
        if begins and open_block:
            found.append(" ".join(open_block))
            open_block = []
        if line.lstrip().startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            found += [cell for cell in cells if len(_words(cell)) >= LEAST_OF_A_CELL]
        elif line.strip() and not line.startswith("#"):
            open_block.append(re.sub(r"^\s*([-*>]|\d+\.)\s+", "", line).strip())
    return found


def sentence_lengths(block: str) -> list[int]:
    """Words of each sentence of a block."""
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block)
    plain = re.sub(r"`[^`]*`", "Code", plain).replace("*", "")
    parts = re.split(r"(?<=[.!?])\)?\s+(?=[A-Z0-9\"(])", plain)
    return [length for part in parts if (length := len(_words(part)))]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_][\w'’.,/×%-]*", text)


def pages_now() -> dict[str, str]:
    """Every page of the working tree."""
    files = [
        file for place in PAGES for file in ([Path(place)] if Path(place).is_file() else Path(place).rglob("*.md"))
    ]
    return {str(file): file.read_text(encoding="utf-8") for file in sorted(files)}


def page_before(commit: str, page: str, old_names: dict[str, str]) -> str | None:
    """The page as it was in a commit; None where it was not there."""
    name = old_names.get(page, page)
    shown = subprocess.run(["git", "show", f"{commit}:{name}"], capture_output=True, text=True, check=False)
    return shown.stdout if shown.returncode == 0 else None


def renames(commit: str) -> dict[str, str]:
    """Today's name to the commit's, of files that were renamed since, by every commit between."""
    told = subprocess.run(
        ["git", "log", "--reverse", "--find-renames", "--diff-filter=R", "--name-status", "--format=", f"{commit}.."],
        capture_output=True,
        text=True,
        check=True,
    )
    names: dict[str, str] = {}
    for line in told.stdout.splitlines():
        _, old, new = line.split("\t")
        names[new] = names.pop(old, old)
    return names


def table(pages: dict[str, str], commit: str | None) -> str:
    """The table, the longest mean first."""
    old_names = renames(commit) if commit else {}
    rows = []
    for page, text in pages.items():
        now = measure(text)
        old = page_before(commit, page, old_names) if commit else None
        then = measure(old) if old else None
        was = f"{then.mean:.1f} | {then.longest}" if then else " | "
        rows.append((now.mean, f"| {page} | {now.words:,} | {was} | {now.mean:.1f} | {now.longest} |"))
    head = "| page | words | mean before | longest before | mean | longest |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(row for _, row in sorted(rows, reverse=True))])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", metavar="COMMIT", help="also measure the pages as they were in a commit")
    print(table(pages_now(), parser.parse_args().before))


if __name__ == "__main__":
    main()
