"""MICRO (Zhang et al., arXiv:2111.00678): graphs, contrastive fusion, training, evaluation. Needs only torch and numpy."""
