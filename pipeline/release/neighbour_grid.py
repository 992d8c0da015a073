"""Neighbour grids: items and their nearest neighbours in pictures, an SVG for each group of the report.

MLflow shows such a file on a run's page. It contains its pictures and refers to no file.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipeline.release.cards import Card
from pipeline.release.report import Neighbourhood, Neighbourhoods, Shown

CELL, PICTURE, LINE, LABEL, MARGIN = 120, 104, 16, 130, 12
"""Pixels: of a cell's side and its picture's, of a line of text, of the names of the lanes, around all."""
LONGEST = 17
"""Characters of a title in a cell."""
INK, PALE = "#1d1d1f", "#5b5b60"
_NOT_IN_XML = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ufffe\\uffff]")
"""Characters with which a file is no XML, and no picture."""


def neighbour_grids(groups: Sequence[Neighbourhoods], cards: Mapping[Any, Card]) -> dict[str, str]:
    """A name such as `neighbours-best` to an SVG; no grid of a group in which no item has a picture.

    Args: cards: of every item in the groups, by its id.
    """
    grids = {}
    for group in groups:
        if any(cards[one].image for row in group.rows for one in _items_of(row)):
            grids[f"neighbours-{_slug(group.title)}"] = _grid(group, cards)
    return grids


def _items_of(row: Neighbourhood) -> list[Any]:
    return [row.item, *(one.id for lane in row.lanes.values() for one in lane)]


def _slug(title: str) -> str:
    return "-".join(title.lower().split())


def _grid(group: Neighbourhoods, cards: Mapping[Any, Card]) -> str:
    """The item of a row stands on the left, beside its lanes."""
    most = max((len(lane) for row in group.rows for lane in row.lanes.values()), default=0)
    top, parts = MARGIN + 3 * LINE, list[str]()
    for row in group.rows:
        parts += _cell(cards[row.item], row.note, MARGIN, top)
        for name, lane in row.lanes.items():
            parts.append(_text(name, MARGIN + CELL + LINE, top + CELL // 2, PALE))
            parts += _lane(lane, cards, top)
            top += CELL + 2 * LINE
    width, height = 2 * MARGIN + CELL + LABEL + most * CELL, top + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(f"{group.title}. {group.lead}")}" '
            'font-family="system-ui, sans-serif" font-size="12">',
            f'<rect width="{width}" height="{height}" fill="white"/>',
            f'<text x="{MARGIN}" y="{MARGIN + LINE}" font-size="16" fill="{INK}">{escape(group.title)}</text>',
            _text(group.lead, MARGIN, MARGIN + 2 * LINE, PALE),
            *parts,
            "</svg>",
        ]
    )


def _lane(lane: Sequence[Shown], cards: Mapping[Any, Card], top: int) -> list[str]:
    lefts = (MARGIN + CELL + LABEL + place * CELL for place in range(len(lane)))
    return [part for one, left in zip(lane, lefts, strict=True) for part in _cell(cards[one.id], one.note, left, top)]


def _cell(card: Card, note: str, left: int, top: int) -> list[str]:
    """A picture, or a frame in its place, with title and note below."""
    place = f'x="{left}" y="{top}" width="{PICTURE}" height="{PICTURE}"'
    shown = card.title if len(card.title) <= LONGEST else card.title[: LONGEST - 1] + "…"
    picture = f'<image {place} href="{card.image}"/>' if card.image else f'<rect {place} fill="none" stroke="#c8c8cc"/>'
    return [
        f"<g><title>{_plain(f'{card.title} ({card.id})')}</title>{picture}</g>",
        _text(shown, left, top + PICTURE + LINE, INK),
        _text(note, left, top + PICTURE + 2 * LINE, PALE),
    ]


def _text(text: str, left: int, base: int, colour: str) -> str:
    return f'<text x="{left}" y="{base}" fill="{colour}">{_plain(text)}</text>'


def _plain(text: str) -> str:
    return escape(_NOT_IN_XML.sub(" ", text))
