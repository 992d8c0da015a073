"""The offline batch pipeline: stages, store, release format, tracking and the `microrec` command line."""
