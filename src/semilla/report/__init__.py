"""What people look at: figures and text."""
