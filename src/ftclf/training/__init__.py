"""One training run, from its config to its folder: preparation, the Trainer, resume, losses and averaging."""
