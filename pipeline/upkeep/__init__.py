"""What a store no longer needs: what is there, what must stay and why, and how the rest goes.

What enters here reads or removes what others have written; it makes nothing.
"""
