"""From trained vectors to those that are released: `finish.finish` is what others call.

A file a step: taste in content (`taste`), its joining to the model's vectors (`joining`), the cut refined
(`distilling`); `validation` measures what is chosen. Nothing here has a gradient through the model.
"""
