"""Training: one function per method. Each takes data and writes a folder."""
