"""Text objectives that a program measures."""
