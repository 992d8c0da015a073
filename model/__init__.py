"""MICRO (Zhang et al., arXiv:2111.00678): graphs, fusion, training, evaluation. Needs only torch and numpy."""
