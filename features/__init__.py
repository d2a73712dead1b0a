"""The 42 weekly features: one definition for training, scoring and serving. Pure NumPy on dated records."""
