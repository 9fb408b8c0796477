"""From logits to numbers: calibration, decisions, metrics, confidence intervals, baselines, significance."""
