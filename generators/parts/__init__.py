"""What the kinds of generator share: checked sampling requests, rotary positions, a norm."""
