"""The parts of `latentune evaluate`: sources, embedding with a cache, the table of metrics, comparison, reports."""
