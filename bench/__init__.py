"""Benchmarks: each hot path beside a plain formulation of the same thing (docs/benchmarks.md)."""
