"""Training rows made from others, up to a target per label: functions of texts, settings and a seeded generator."""
