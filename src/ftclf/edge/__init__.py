"""Hydra's edge: command lines become plain dataclasses here; nothing else has seen Hydra or OmegaConf."""
