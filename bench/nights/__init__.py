"""Fifty nights on the sample, half of them with a fault: which champion stands after each, and which should.

What is right is known from what was drawn; no verdict of the pipeline is believed.
"""
