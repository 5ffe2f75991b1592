"""The vocabulary the methods are written in: pure functions over tensors whose last dimension is the classes.

Nothing here knows a task, a network's shape or a file. Everything that ends in a loss is computed in float32 whatever
the precision around it.
"""
