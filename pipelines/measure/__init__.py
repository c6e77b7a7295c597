"""Everything that is measured: metrics, embedders, sets of audio, codecs, channels, and their results."""
