"""The HTTP service, `latentune serve`."""
