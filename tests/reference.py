"""Naive references, one loop per sum, in float64: what the fast code is held against."""

import math

import numpy as np
import torch


def cosine(a, b):
    """Cosine of two vectors; 0 where one of them is zero."""
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm else 0.0


def knn_adjacency(features, present, k):
    """Dense matrix of the k largest clipped cosines of each row, the item itself counted first."""
    num_items = len(features)
    matrix = np.zeros((num_items, num_items))
    for i in range(num_items):
        if not present[i]:
            continue
        others = [(cosine(features[i], features[j]), j) for j in range(num_items) if present[j] and j != i]
        others.sort(key=lambda pair: -pair[0])
        for value, j in [(1.0, i), *others[: k - 1]]:
            matrix[i, j] = max(0.0, value)
    return matrix


def symmetric_normalised(matrix):
    """D^-1/2 S D^-1/2 with D the row sums; a zero degree gives 0."""
    degree = matrix.sum(1)
    result = np.zeros_like(matrix)
    for i, j in np.argwhere(matrix > 0):
        if degree[i] > 0 and degree[j] > 0:
            result[i, j] = matrix[i, j] / math.sqrt(degree[i] * degree[j])
    return result


def item_graph(features, present, k, weight=None, bias=None, initial_weight=1.0):
    """A = lambda S + (1 - lambda) S' of one modality (arXiv:2111.00678, equations 1 to 6), dense.

    S of the features X, S' of X W^T + b. Tensors in and out: which neighbours are kept is fixed, and autograd passes
    through their similarities.
    """

    def adjacency(values):
        kept = torch.from_numpy(knn_adjacency(values.detach().numpy(), present.numpy(), k) > 0)
        unit = values / values.norm(dim=1, keepdim=True)
        similarity = (unit @ unit.T).clamp(min=0) * kept
        degree = similarity.sum(1)
        scale = torch.where(degree > 0, degree, 1).rsqrt()
        return scale[:, None] * similarity * scale

    initial = initial_weight * adjacency(features)
    if initial_weight == 1:
        return initial
    return initial + (1 - initial_weight) * adjacency(features @ weight.T + bias)


def contrastive(modality, fused, items, temperature):
    """Mean over `items` of MICRO's contrastive loss (arXiv:2111.00678, equation 11), as a triple loop."""
    total = 0.0
    for i in items:
        positive = math.exp(cosine(modality[i], fused[i]) / temperature)
        denominator = sum(math.exp(cosine(modality[i], fused[j]) / temperature) for j in items)
        denominator += sum(math.exp(cosine(modality[i], modality[j]) / temperature) for j in items if j != i)
        total -= math.log(positive / denominator)
    return total / len(items)


def sampled_contrastive(modality, fused, anchors, candidates, log_counts, temperature):
    """The loss with both sums weighted by importance, as a triple loop over tensors: it has autograd's own gradient.

    A candidate that is the anchor itself stands in neither sum; the positive pair stands once, with its exact weight.
    """

    def similarity(a, b):
        return torch.exp(sum(a * b) / torch.sqrt(sum(a * a) * sum(b * b)) / temperature)

    total = 0.0
    for i in anchors:
        positive = similarity(modality[i], fused[i])
        denominator = positive
        for j, log_count in zip(candidates, log_counts, strict=True):
            if j != i:
                both = similarity(modality[i], fused[j]) + similarity(modality[i], modality[j])
                denominator = denominator + both / math.exp(log_count)
        total = total - torch.log(positive / denominator)
    return total / len(anchors)


def ranking_metrics(ranked, relevant, k):
    """Recall, precision, NDCG, hit and average precision of one list."""
    hits = [1 if item in relevant else 0 for item in ranked[:k]]
    gain = sum(hit / math.log2(place + 2) for place, hit in enumerate(hits))
    ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
    average = sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit)
    return {
        "recall": sum(hits) / len(relevant),
        "precision": sum(hits) / k,
        "ndcg": gain / ideal,
        "hit": float(any(hits)),
        "map": average / min(k, len(relevant)),
    }


def full_ranking(user_vector, item_vectors, masked, candidates=None):
    """All items the user may be shown, best first."""
    allowed = [i for i in range(len(item_vectors)) if i not in masked and (candidates is None or i in candidates)]
    return sorted(allowed, key=lambda i: -float(user_vector @ item_vectors[i]))


def nearest_items(vectors, listed, anchor, k):
    """The other listed items of largest cosine to an anchor, best first; none of an anchor that is not listed."""
    others = [j for j in range(len(vectors)) if listed[j] and j != anchor] if listed[anchor] else []
    return sorted(others, key=lambda j: -cosine(vectors[anchor], vectors[j]))[:k]


def same_kind_share(anchors, nearest, kinds):
    """Of the neighbours of anchors with a kind, the share of the same kind; -1 is no neighbour, and no kind."""
    same = [
        kinds[neighbour] == kinds[anchor]
        for anchor, row in zip(anchors, nearest, strict=True)
        for neighbour in row
        if neighbour >= 0 and kinds[anchor] >= 0
    ]
    return sum(same) / len(same) if same else None


def squares_loss(user_vectors, item_vectors, pairs, users, candidates, unobserved_weight):
    """Squared distance of the pairs' scores from 1, and of all scores from 0, over the number of pairs."""
    observed = sum((1 - float(user_vectors[user] @ item_vectors[item])) ** 2 for user, item in pairs)
    every = sum(float(user_vectors[user] @ item_vectors[item]) ** 2 for user in users for item in candidates)
    return (observed + unobserved_weight * every) / len(pairs)


def softmax_loss(user_vectors, item_vectors, pairs, candidates):
    """Mean over the pairs of the negative log share that the pair's item has among the candidates."""
    total = 0.0
    for user, item in pairs:
        scores = [float(user_vectors[user] @ item_vectors[j]) for j in candidates]
        total += math.log(sum(math.exp(score) for score in scores)) - float(user_vectors[user] @ item_vectors[item])
    return total / len(pairs)


def graded_gain(rank, num_items, cutoff):
    """A reciprocal rank with an offset, over the mean of it in a random order."""
    by_place = [cutoff / (cutoff + place) for place in range(num_items)]
    return cutoff / (cutoff + rank - 1) - sum(by_place) / num_items


def bootstrap_interval(new, old, confidence, draws, rng):
    """Percentile interval of mean(new) / mean(old) - 1, users drawn with replacement, their values paired."""
    differences = []
    for _ in range(draws):
        users = rng.integers(len(new), size=len(new))
        differences.append(new[users].mean() / old[users].mean() - 1)
    return np.quantile(differences, [(1 - confidence) / 2, (1 + confidence) / 2])
