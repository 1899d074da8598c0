"""Training of policies and rewards over listed options, from trajectories or preference pairs."""
