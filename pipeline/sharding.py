"""How an extraction is cut: into groups that one part each is made of, and groups into shards of equal work.

Shards share nothing and may start at any time, so each must come to the same plan by itself, whatever the others have
finished meanwhile. The plan therefore rests on the whole catalogue, seen before or not: its distinct contents in order
are cut into slots, slots are dealt to shards by bytes, and a group goes where its first content's slot goes.
"""

import heapq
from collections.abc import Sequence

from pipeline.contents import Content

BATCHES_PER_GROUP = 8


def in_groups(contents: Sequence[Content], batch_size: int) -> list[list[Content]]:
    """Cut contents, in order of (length, hash), into groups of whole batches.

    Leaving out finished groups leaves the others as they are.
    """
    ordered = sorted(contents, key=_order)
    step = batch_size * BATCHES_PER_GROUP
    return [ordered[start : start + step] for start in range(0, len(ordered), step)]


def of_shard(
    groups: Sequence[list[Content]], catalogue: Sequence[Content], batch_size: int, shard: tuple[int, int]
) -> list[list[Content]]:
    """The groups that shard `index` of `count` has to do.

    Args:
        groups: of contents not seen before.
        catalogue: all distinct contents, those seen before too.
        shard: (index, count), index from 0.
    """
    index, count = shard
    if count == 1:
        return list(groups)
    slots = in_groups(catalogue, batch_size)
    owner = _dealt([sum(content.num_bytes for content in slot) for slot in slots], count)
    slot_of = {content.digest: number for number, slot in enumerate(slots) for content in slot}
    return [group for group in groups if owner[slot_of[group[0].digest]] == index]


def _dealt(costs: Sequence[int], count: int) -> list[int]:
    """The shard of every slot: the dearest first, each to the shard that has least so far."""
    loads = [(0, shard) for shard in range(count)]
    owner = [0] * len(costs)
    for slot in sorted(range(len(costs)), key=lambda number: (-costs[number], number)):
        load, shard = heapq.heappop(loads)
        owner[slot] = shard
        heapq.heappush(loads, (load + costs[slot], shard))
    return owner


def _order(content: Content) -> tuple[int, str]:
    return content.size, str(content.digest)
