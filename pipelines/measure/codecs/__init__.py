"""Measurements of a codec: reconstructions, decoding steps, the cost of quantization, borders of chunks."""
