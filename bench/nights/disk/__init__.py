"""A disk that fails: `sitecustomize` is loaded by a command that has this folder in PYTHONPATH."""
