"""Does the unlabeled data help here? Comparisons on the same label draws, and intervals around what they show."""
