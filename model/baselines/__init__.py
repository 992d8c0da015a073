"""What the model is compared with: a function each, from training data to a scorer, and `Vbpr`, which is trained.

MF, LightGCN, NGCF and LATTICE are settings of `model.micro`, implicit's ALS and BPR another library's:
`pipeline.experiments.compare.contestants` has them all.
"""
