"""From logits to numbers: calibration, decisions, metrics, intervals, baselines, significance, label errors."""
