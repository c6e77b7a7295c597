"""Errors, configs, files, checkpoints and randomness: what every other folder builds on."""
