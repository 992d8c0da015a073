"""Metrics as MICRO's authors' code computes them, for comparison with published tables only.

Two deviations from the standard: NDCG's ideal is built from the hits found in the list, and (by the caller)
validation items are not masked at test.
"""

from collections.abc import Sequence

import torch

from model.evaluation import Pairs, Ranking, hits, metrics_per_user


def paper_metrics(ranking: Ranking, relevant: Pairs, cutoffs: Sequence[int]) -> dict[str, float]:
    """Recall and precision as usual; NDCG with the list's own hits, sorted first, as the ideal.

    `standard_ndcg@K` is the usual NDCG of the same lists, for tables whose protocol differs by the masking alone.
    """
    per_user = metrics_per_user(ranking, relevant, cutoffs)
    means = {name: float(value.nanmean()) for name, value in per_user.items()}
    summary = {name: value for name, value in means.items() if name.startswith(("recall", "precision"))}
    hit_QK = hits(ranking, relevant).double()
    place_K = torch.arange(1, hit_QK.shape[1] + 1, dtype=torch.float64, device=hit_QK.device)
    discount_K = 1 / torch.log2(place_K + 1)
    for cutoff in cutoffs:
        top_QK = hit_QK[:, :cutoff]
        ideal_Q = (top_QK.sort(dim=1, descending=True).values * discount_K[:cutoff]).sum(1)
        gain_Q = (top_QK * discount_K[:cutoff]).sum(1)
        summary[f"ndcg@{cutoff}"] = float(torch.where(ideal_Q > 0, gain_Q / ideal_Q.clamp(min=1e-12), 0.0).mean())
        summary[f"standard_ndcg@{cutoff}"] = means[f"ndcg@{cutoff}"]
    return summary
