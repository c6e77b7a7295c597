"""Parts that the kinds of generator share: checked sampling requests."""
