"""A boundary model: times of words from a narrow view, trained on the recordings alone.

A perceptron sees single frames; each letter has some states in order, silence between words is optional,
and a search from left to right finds where the states lie.  It needs no dictionary, no alignment to start
from and no other model.
"""
