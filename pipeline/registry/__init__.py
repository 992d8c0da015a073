"""MLflow, and which release is champion: tracking, the gate, promotion, and whether all records agree.

What enters here speaks to MLflow or decides which release others should read; it is given a store, not a configuration.
"""
