"""What `validate` found in a catalogue, and which findings are warnings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.columns import ITEM_ID, TIMESTAMP, USER_ID
from pipeline.dataset.records import Moment

_FEW_INTERACTIONS = 3
_SHOWN = 3  # ids shown in a line
_MANY_SAME, _SHARE_SAME = 3, 0.05  # from how many items on, and from which share, one content deserves a look


@dataclass(frozen=True, kw_only=True)
class ItemsReport:
    """The catalogue's rows."""

    rows: int
    kept: int
    """Items there are."""
    without_id: int
    rows_without_id: list[str]
    """The first of them, as file and row number."""
    repeated_rows: int
    left_out: int
    """Named by no interaction (`catalogue.items_from`)."""
    not_in_catalogue: int
    """Named by interactions only."""
    without_interactions: int
    id_type: str
    nulls: dict[str, int]
    """By column."""
    values: dict[str, int] | None = None
    """Rows with a value (blanks are none), by the columns that the modalities are made of."""
    words_for_nothing: dict[str, dict[str, int]] = field(default_factory=dict)
    """By column: words such as `nan`, which other programs write for a missing value, and their rows."""


@dataclass(frozen=True, kw_only=True)
class UnknownItems:
    """Items that interactions name and the catalogue lacks."""

    count: int
    ids: list[Any]
    """The first of them."""


@dataclass(frozen=True, kw_only=True)
class Timestamps:
    """The moments of the interactions."""

    first: Any
    """ISO 8601, or the number as it stands."""
    last: Any
    missing: int


@dataclass(frozen=True, kw_only=True)
class InteractionsReport:
    """The interactions' rows, and what became of them."""

    rows: int
    kept: int
    dropped: dict[str, int]
    """By the step of cleaning."""
    rows_without_id: list[str]
    unknown_items: UnknownItems
    nulls: dict[str, int]
    last_timestamp: Moment | None = None
    """The latest of all rows, dropped ones too: which are kept depends on the catalogue and the filters."""
    timestamps: Timestamps | None
    words_for_nothing: dict[str, dict[str, int]] = field(default_factory=dict)
    """As of the items, in `user_id` and `item_id`."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Spread of a count."""

    min: int
    median: float
    max: int


@dataclass(frozen=True, kw_only=True)
class UsersReport:
    """The users, before and after cleaning."""

    before: int
    kept: int
    interactions_per_user: Spread


@dataclass(frozen=True, kw_only=True)
class PictureProblem:
    """A picture that cannot be used."""

    item_id: Any
    image_path: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class SameContent:
    """One content that several items have."""

    items: int
    first: list[Any]
    """Ids of the first of them."""


@dataclass(frozen=True, kw_only=True)
class ContentReport:
    """How many items have usable content in a modality, and what is wrong with the rest."""

    content: str
    """`text`, `image` or `precomputed`."""
    usable: int
    missing: int
    missing_items: list[Any]
    """Ids of the first of them."""
    distinct: int | None = None
    """Different contents among the usable."""
    same: SameContent | None = None
    """The content that most items have; None where each has its own."""
    examples: list[str] = field(default_factory=list)
    """The first texts, cut short, or the first paths of pictures."""
    reads: int | None = None
    """Word pieces that the encoder reads of a text; None where that is not known beforehand."""
    long: int | None = None
    """Items with a longer text."""
    cuts: bool = True
    """Whether the rest of a longer text is left out."""
    long_items: list[Any] = field(default_factory=list)
    of_unknown_items: int | None = None
    """Precomputed vectors of items that the catalogue lacks."""
    zero: int | None = None
    """Items whose precomputed vector is all zero: they count as missing."""
    scaled: int | None = None
    """Items whose precomputed vector is so long or so short that it is scaled; its direction stays."""
    not_found: int | None = None
    not_found_items: list[PictureProblem] = field(default_factory=list)
    unreadable: int | None = None
    unreadable_items: list[PictureProblem] = field(default_factory=list)
    outside: int | None = None
    """Pictures that lie outside the image root, and are not read."""
    outside_items: list[PictureProblem] = field(default_factory=list)

    unread: int = 0
    """Items whose picture was not read before and not decoded now either."""
    estimated_unreadable: int = 0
    """How many of these cannot be decoded, by today's sample; `usable` is without them."""

    def picture_problems(self) -> list[tuple[str, int, list[PictureProblem]]]:
        """Kind, number and the first of each kind of problem, of pictures only."""
        kinds = (
            ("not found", self.not_found, self.not_found_items),
            ("unreadable", self.unreadable, self.unreadable_items),
            ("outside image_root", self.outside, self.outside_items),
        )
        return [(kind, count, first) for kind, count, first in kinds if count is not None]


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """Everything that `validate` counts."""

    items: ItemsReport
    interactions: InteractionsReport
    users: UsersReport
    density: float
    """Share of the pairs of user and item that interact."""
    modalities: dict[str, ContentReport]
    warnings: list[str] = field(default_factory=list)


def find_warnings(report: ValidationReport) -> list[str]:
    """Warnings: what deserves a look but stops nothing."""
    items, interactions = report.items, report.interactions
    dropped, unknown = interactions.dropped, interactions.unknown_items
    missing_times = interactions.timestamps.missing if interactions.timestamps else 0
    findings = {
        f"items: {items.without_id} rows have no {ITEM_ID}, such as {some(items.rows_without_id)}; they are "
        "left out": items.without_id,
        f"items: {items.repeated_rows} rows repeat another word for word; one is kept": items.repeated_rows,
        f"items: {items.not_in_catalogue} are named by interactions only; they are items without content": (
            items.not_in_catalogue
        ),
        f"interactions: {dropped['without_id']} rows lack {USER_ID} or {ITEM_ID}, such as "
        f"{some(interactions.rows_without_id)}; they are left out": dropped["without_id"],
        f"interactions: {dropped['of_unknown_items']} rows are of {unknown.count} items that the catalogue lacks, "
        f"such as {some(unknown.ids)}": dropped["of_unknown_items"],
        f"interactions: {dropped['repeated_pairs']} rows repeat a (user, item) pair; the earliest is kept": dropped[
            "repeated_pairs"
        ],
        f"interactions: {missing_times} have no {TIMESTAMP}": missing_times,
        "users: half of them have fewer than 3 interactions, so little can be learned or measured": (
            report.users.interactions_per_user.median < _FEW_INTERACTIONS
        ),
    }
    content = [line for name, found in report.modalities.items() for line in _content(name, found, items.kept)]
    return [*(text for text, found in findings.items() if found), *_empty_columns(report), *_words(report), *content]


def _empty_columns(report: ValidationReport) -> list[str]:
    """Columns that are named and there, and have no value in any row."""
    items, interactions = report.items, report.interactions
    empty = [("items", name) for name, count in (items.values or {}).items() if not count]
    empty += [("interactions", name) for name, nulls in interactions.nulls.items() if nulls == interactions.rows]
    return [f"{table}: column {name} has no value in any row; is it the right one?" for table, name in empty]


def _words(report: ValidationReport) -> list[str]:
    """Words for a missing value that were read as values."""
    lines = []
    for table, found in (("items", report.items), ("interactions", report.interactions)):
        for name, counts in found.words_for_nothing.items():
            told = ", ".join(f"{word!r} in {count:,} rows" for word, count in counts.items())
            what = "each is one id like any other" if name in (USER_ID, ITEM_ID) else "they count as content"
            lines.append(
                f"{table}: column {name} holds {told}: other programs write this for no value; {what}; leave such "
                "values empty"
            )
    return lines


def _content(name: str, found: ContentReport, num_items: int) -> list[str]:
    lines = []
    if found.not_found:
        shown = some([entry.image_path for entry in found.not_found_items])
        lines.append(f"{name}: {found.not_found} pictures are named but not there, such as {shown}")
    if found.unreadable:
        shown = some([entry.image_path for entry in found.unreadable_items])
        lines.append(f"{name}: {found.unreadable} pictures cannot be decoded, such as {shown}")
    if found.estimated_unreadable:
        lines.append(
            f"{name}: {found.unread} pictures were never read; by the sample about {found.estimated_unreadable} "
            "of them cannot be decoded (`microrec validate --deep` decodes all)"
        )
    if found.outside:
        shown = some([entry.image_path for entry in found.outside_items])
        lines.append(
            f"{name}: {found.outside} pictures lie outside catalogue.image_root and are not read, such as {shown}; "
            "catalogue.images_outside_root = true reads them"
        )
    if found.zero:
        lines.append(f"{name}: {found.zero} vectors are all zero; these items count as items without content")
    if found.scaled:
        lines.append(
            f"{name}: {found.scaled} vectors are so long or so short that they are scaled; their directions stay"
        )
    if found.long and found.cuts:
        lines.append(
            f"{name}: {found.long} texts are longer than the {found.reads} word pieces that the encoder reads, such as "
            f'those of {some(found.long_items)}; the rest is not encoded (modalities.{name}.long_texts = "average" '
            "encodes all of it)"
        )
    if found.same and found.same.items >= max(_MANY_SAME, _SHARE_SAME * found.usable):
        lines.append(
            f"{name}: {found.same.items} items have the very same content, such as {some(found.same.first)}; does it "
            "stand for none?"
        )
    if found.usable == 0:
        lines.append(f"{name}: none of the {num_items} items has usable content; mend its columns, paths or vectors")
    return lines


def some(values: Sequence[Any]) -> str:
    """The first of some values, for a line."""
    return ", ".join(map(repr, values[:_SHOWN]))
