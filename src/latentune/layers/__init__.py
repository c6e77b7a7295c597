"""Signal processing and network parts that codecs and generators share."""
