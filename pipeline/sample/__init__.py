"""A small catalogue with rendered pictures, texts and interactions whose hidden structure is known."""

from pipeline.sample.writer import write_sample

__all__ = ["write_sample"]
