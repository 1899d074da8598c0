"""Training: one function per family, data in, a folder out."""
