"""The parts of the training loop: config, data, optimiser, averaged weights, checkpoints, logs, previews."""
