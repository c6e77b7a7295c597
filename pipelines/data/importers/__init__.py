"""Recordings and latents in the layouts of other programs."""
