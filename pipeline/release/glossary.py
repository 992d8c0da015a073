"""The words of the report, for readers who do not use them every day."""

GLOSSARY = {
    "95 % interval": "If other shoppers of the same kind were counted, the figure would lie in it 95 times of 100. "
    "If two intervals do not overlap, the difference is hardly chance.",
    "Attention weight": "What share of an item's content vector comes from one modality. An item's weights sum to 1.",
    "Bestsellers": "The same list for everybody: items by their number of interactions in training.",
    "Bought together": "Item-kNN: items that the same shoppers took as those in the history. It does not use content.",
    "Champion": "The release that shops read now. This page was written before the next champion was chosen.",
    "Cosine": "How similar the directions of two vectors are: 1 the same, 0 unrelated.",
    "Coverage": "Share of the items that stand in anybody's list.",
    "Drift": "How far vectors moved since the champion.",
    "Find something (hit@20)": "Share of shoppers with at least one held-out purchase among their 20 suggestions.",
    "Found of all (recall@20)": "Share of a shopper's held-out purchases that are among the 20, mean over shoppers.",
    "Held out": "Purchases that training did not see. What is suggested is compared with them.",
    "Modality": "A kind of content, such as pictures or texts.",
    "New item": "An item without interactions in training: its vector comes from its content alone.",
    "NDCG": "Like recall, but higher places count more. 1 is the best possible order.",
    "Popular items": "The fifth of the items with interactions that has the most of them. The others are the rest.",
    "Purchase": "Any interaction of a shopper with an item, whatever the shop records: a purchase, a view, a rating.",
    "Score": "Inner product of a shopper's and an item's vector. Lists are by score.",
    "Taste weight": "How much a shopper's taste in the content of one modality counts beside what others bought.",
}
