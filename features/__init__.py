"""Pretrained encoders that turn pictures and texts into vectors; no storage, no scheduler."""
