"""Fitting the risk network, here or on a Ray cluster, up to a model that can be served."""
