"""Parts that several kinds of generator share: checked requests, what is given, guidance, normal latents, solvers."""
