"""How the quality gate comes to a verdict: two contenders on the same ground, measured with intervals.

What enters here scores vectors and needs torch; the gate's settings and recorded verdicts, which need none, do not.
"""
