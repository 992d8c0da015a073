"""What a store, a database, a server or the machine says when it fails, and whether trying again may help.

What enters here knows the errors of other libraries by name, without importing them.
"""
