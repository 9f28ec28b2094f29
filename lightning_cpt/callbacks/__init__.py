"""What runs beside the training loop: checkpoints, progress, probes, predictions."""
