"""`python -m pipeline.cli`, which is `microrec`."""

from pipeline.cli import main

main()
