"""`microrec compare`: the model, its ablations and the baselines under one protocol, in one table."""
