"""`index.faiss`: exact or approximate, and what it finds of an exact search.

Shapes: U users, I items, D dimension, Q queries, K results.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.release.space import IndexKind, IndexRecord

FOUND = 20
MAX_QUERIES = 1000
LINKS, BUILD_WIDTH, SEARCH_WIDTH = 32, 200, 128
"""Of HNSW: neighbours of a node, candidates while building, candidates while searching, which the file keeps."""
ROWS_PER_CENTROID = 39
"""Fewer, and faiss calls the training too small."""
FEWEST_CODED = 1000
"""Items from which on codes can be trained; fewer have the exact index in the place of `ivf-pq`."""


def write_index(kind: IndexKind, item_ID: np.ndarray, user_UD: np.ndarray, path: Path) -> IndexRecord:
    """Write an inner-product index over items; position in it is the row number in `item_embeddings`.

    Its recall is measured with evenly spaced users' vectors.
    """
    item_ID = np.ascontiguousarray(item_ID, dtype=np.float32)
    kind = "flat" if kind == "ivf-pq" and len(item_ID) < FEWEST_CODED else kind
    index = _KINDS[kind](item_ID)
    index.add(item_ID)
    faiss.write_index(index, str(path))
    step = max(1, len(user_UD) // MAX_QUERIES)
    query_QD = np.ascontiguousarray(user_UD[::step][:MAX_QUERIES], dtype=np.float32)
    recall = 1.0 if kind == "flat" else _recall(index, item_ID, query_QD)
    return IndexRecord(kind=kind, bytes=path.stat().st_size, recall=recall, queries=len(query_QD))


def _recall(index: Any, item_ID: np.ndarray, query_QD: np.ndarray) -> float:
    """Mean share of the exact results that the index finds; 1 without queries."""
    exact, count = _flat(item_ID), min(FOUND, len(item_ID))
    if not len(query_QD) or not count:
        return 1.0
    exact.add(item_ID)
    wanted_QK, found_QK = exact.search(query_QD, count)[1], index.search(query_QD, count)[1]
    hits = sum(len(np.intersect1d(wanted, found)) for wanted, found in zip(wanted_QK, found_QK, strict=True))
    return float(hits / wanted_QK.size)


def _flat(item_ID: np.ndarray) -> Any:
    return faiss.IndexFlatIP(item_ID.shape[1])


def _hnsw(item_ID: np.ndarray) -> Any:
    index = faiss.IndexHNSWFlat(item_ID.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILD_WIDTH, SEARCH_WIDTH
    return index


def _int8(item_ID: np.ndarray) -> Any:
    index = faiss.IndexScalarQuantizer(item_ID.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(item_ID)
    return index


def _ivf_pq(item_ID: np.ndarray) -> Any:
    """Cells by the square root of the items, a quarter of which are searched; codes of a byte for four dimensions.

    There are no more cells and centroids than the catalogue can train.
    """
    count, dim = item_ID.shape
    trainable = count // ROWS_PER_CENTROID
    cells, bits = min(trainable, round(4 * count**0.5)), min(8, trainable.bit_length() - 1)
    parts = max(number for number in range(1, max(1, dim // 4) + 1) if dim % number == 0)
    index = faiss.IndexIVFPQ(_flat(item_ID), dim, cells, parts, bits, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(1, cells // 4)
    index.train(item_ID)
    return index


_KINDS: dict[IndexKind, Callable[[np.ndarray], Any]] = {
    "flat": _flat,
    "hnsw": _hnsw,
    "ivf-pq": _ivf_pq,
    "int8": _int8,
}
