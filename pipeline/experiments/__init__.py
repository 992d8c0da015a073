"""Measuring models, not nights: the search of hyper-parameters, and the comparison with baselines.

What enters here trains on a run's data and publishes no release.
"""
