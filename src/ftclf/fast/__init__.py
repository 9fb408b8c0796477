"""The only room with hand-made speed: encoder blocks for CPUs and kernels for GPUs, each checked against torch."""
