"""Every read and write, on a local disk and in an object store, and where in the store things are.

What enters here knows bytes and places, not what they mean.
"""
