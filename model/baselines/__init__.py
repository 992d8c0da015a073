"""What the model is compared with: a function each, from training data to a scorer."""
