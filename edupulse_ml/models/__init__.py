"""The risk network, the models it must match or beat, and what turns scores into probabilities and categories."""
