"""Audio files and datasets of latents."""
