"""Full-ranking evaluation at Baby's shape, beside a heap per user."""

from dataclasses import replace

import torch

from bench import plain
from bench.measure import GIB, Report, extra_memory, interleaved, ratio, show
from bench.workload import BABY, make
from model.evaluation import InnerProduct, Pairs, rank_items, summarise

PLAIN_USERS = 400  # the plain form takes equally long for every user: measured on these, stated for all
CUTOFF = 20


def main() -> None:
    """Measure all users with everything masked that they have."""
    report = Report("full-ranking evaluation, 19,445 users x 7,050 items, cutoff 20")
    data, held = make(replace(BABY, features={"text": 8}))
    generator = torch.Generator().manual_seed(0)
    scorer = InnerProduct(
        torch.randn(data.num_users, 64, generator=generator), torch.randn(data.num_items, 64, generator=generator)
    )
    seen = Pairs(data.user_T, data.item_T, data.num_users, data.num_items)
    everyone = torch.arange(data.num_users)
    relevant = Pairs(everyone, held.item_P[everyone % len(held.item_P)], data.num_users, data.num_items)

    def fast() -> None:
        summarise(rank_items(scorer, everyone, [seen], CUTOFF), relevant, [CUTOFF], data.num_items)

    some = torch.arange(PLAIN_USERS)
    seen_sets, relevant_sets = (plain.item_sets(*pairs.of_users(some)) for pairs in (seen, relevant))

    def plainly() -> None:
        plain.evaluate(scorer.user_UD, scorer.item_ID, seen_sets, relevant_sets, CUTOFF)

    def floor() -> None:
        for user_BD in scorer.user_UD.split(512):
            user_BD @ scorer.item_ID.T

    slow, ours, bare = interleaved([plainly, fast, floor], rounds=5)
    slow = [taken * data.num_users / PLAIN_USERS for taken in slow]
    gain, memory = ratio(slow, ours), extra_memory(fast)
    report.row("plain", show(slow), f"computed from {PLAIN_USERS} users")
    report.row("ours", show(ours), f"{gain:.0f} x plain; {memory / GIB:.2f} GiB extra")
    report.row(
        "floor: the bare product of users and items", show(bare), f"ours takes {ratio(ours, bare):.1f} x the floor"
    )
    report.bar("evaluation, 19,445 x 7,050: at least 40 x the plain one", f"{gain:.0f} x", gain >= 40)
    report.bar("the same: at most 1 GB of extra memory", f"{memory / 1e9:.2f} GB", memory <= 1e9)
    report.finish()


if __name__ == "__main__":
    main()
