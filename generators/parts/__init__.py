"""What the kinds of generator share: checked sampling requests."""
