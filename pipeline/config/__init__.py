"""The configuration: one TOML file, composed of the dataclasses that each room owns.

What enters here reads, checks or compares configurations; reading one loads no torch.
"""
