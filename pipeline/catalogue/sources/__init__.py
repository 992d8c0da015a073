"""The layouts in which catalogues come: our own tables, and the files of published data sets.

What enters here is one layout a file, and a line of the dictionary below; it gives lazy tables under our column names.
"""

from pipeline.catalogue.sources.amazon_2014 import AMAZON_2014
from pipeline.catalogue.sources.amazon_2023 import AMAZON_2023
from pipeline.catalogue.sources.mmrec import MMREC
from pipeline.catalogue.sources.source import Format, ItemsFrom, Source
from pipeline.catalogue.tables import FORMATS, scan_table

__all__ = ["Format", "ItemsFrom", "Source", "find_source"]

TABLES = Source(endings=tuple(FORMATS), items_from="catalogue", scan_items=scan_table, scan_interactions=scan_table)
_SOURCES: dict[Format, Source] = {
    "tables": TABLES,
    "amazon-2014": AMAZON_2014,
    "amazon-2023": AMAZON_2023,
    "mmrec": MMREC,
}


def find_source(name: Format) -> Source:
    """The layout that `catalogue.format` names."""
    return _SOURCES[name]
