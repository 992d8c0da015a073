"""The catalogue of faults: what is done to a run and to its store, and whether anything was lost or wrong afterwards.

`python -m bench.faults` writes docs/reference/reliability.md.
"""
