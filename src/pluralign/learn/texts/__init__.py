"""Training on texts: preference pairs and demonstrations, as forests of tokens through a language model."""
