"""`microrec compare`: the model, its ablations and the baselines under one protocol, in one table.

What enters here is a contestant, how one is measured, or how the table is made.
"""
