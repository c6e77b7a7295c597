"""What `latentune evaluate` is made of: sources, embedding with a cache, the table of metrics, comparison, reports."""
