"""What a label is: loss, guess, soft loss, decode and metrics of each kind of label."""

from semilla.tasks.alphabet import Alphabet
from semilla.tasks.attention import Attention
from semilla.tasks.classes import Classes
from semilla.tasks.ctc import CTC

__all__ = ["CTC", "Alphabet", "Attention", "Classes"]
