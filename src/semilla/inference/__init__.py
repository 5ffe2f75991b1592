"""A trained model at work: over arrays and files, calibrated, streamed, resumed and shared among processes.

Nothing is imported here, because the decoding workers import `semilla.inference.decode` and must not wait for PyTorch.
"""
