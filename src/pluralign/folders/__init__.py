"""Folders of trained models: the card, the weights, and what is read back from them."""
