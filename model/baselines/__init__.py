"""What the model is compared with: a function each, from training data to a scorer, and `Vbpr`, `Freedom`
and `Mgcn`, which are trained (`own_loss` adds what their losses have beside the ranking).

MF, LightGCN, NGCF and LATTICE are settings of `model.micro`, implicit's ALS and BPR another library's:
`pipeline.experiments.compare` has them all.
"""
