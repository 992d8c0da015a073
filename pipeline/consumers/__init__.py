"""Examples of what reads a release: each knows the release's format and nothing else of the pipeline."""
