"""What a model is trained and measured on: indices, splits, features, the protocol of evaluation.

What enters here turns a clean catalogue into what `model` takes, or measures a scorer on it.
"""
