"""What a release's report shows besides numbers: neighbours, shoppers, a map, faulty data, each a file.

What enters here chooses what is shown, by row or id; cards with pictures are made once for all of it.
"""
