"""Tokenizer and generator joined: prompts to audio."""
