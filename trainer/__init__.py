"""Embedding models, losses and the training loop. Knows nothing of detectors."""
