"""Weights and networks: where a base model comes from, what of it is trained, its tokens and batches, the device."""
