"""What a store, a database, a server or the machine says when it fails, and whether trying again may help.

What enters here knows the errors of other people's libraries, by their names: nothing is imported for it.
"""
