"""Steering at inference time: mixtures of policies, value guidance, best-of-N, targets on rewards."""
