"""The web page, `latentune web`."""
