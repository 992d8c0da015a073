"""What others hold in their hands: the format of a release, its manifest, its verification, its report.

What enters here writes, reads or checks a release folder, without knowing how it was trained.
"""
