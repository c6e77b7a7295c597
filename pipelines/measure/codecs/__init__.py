"""Experiments on a codec: reconstructions, decoding steps, what quantisation costs, borders of chunks."""
