"""What a label is: loss, guess, soft loss, decode and metrics of each kind of label."""

from semilla.tasks.classes import Classes

__all__ = ["Classes"]
