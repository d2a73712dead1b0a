"""The model registry and experiment tracking: the only home of MLflow."""
