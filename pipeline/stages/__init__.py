"""The stages of a run, a file each, and what they alone share; each writes a folder and returns a result of its own.

What enters here is done once a night, between opening a run and moving the champion.
"""

from pipeline.stages.results import EVALUATE, EXPORT, EXTRACT, PREPARE, REGISTER, TRAIN, VALIDATE

__all__ = ["EVALUATE", "EXPORT", "EXTRACT", "PREPARE", "REGISTER", "TRAIN", "VALIDATE"]
