"""What the user gave us: tables of items and interactions, pictures, precomputed vectors, in whatever layout they come.

What enters here reads the user's files or says what is wrong with them; nothing here knows a run.
"""
