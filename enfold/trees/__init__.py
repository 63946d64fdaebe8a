"""Circuits: distributions over arrays of small integers that can be learned, asked, and coded with, exactly.

    structure     which variables hang together, learned from data
    flows         probabilities, learned from data
    frozen        the same as integer tables, in a model file
    walk          images into bytes and back
    marginals     likelihoods, conditionals, samples: of images some of whose pixels are unknown
"""
