"""A small catalogue with rendered pictures, texts and interactions whose hidden structure is known.

What enters here draws or writes that catalogue; it knows no run and no model.
"""

from pipeline.sample.writer import write_sample

__all__ = ["write_sample"]
