"""A story as a Gymnasium environment with one reward per objective, played at random."""

import numpy as np

import pluralign as pl

env = pl.make_env("salt_ledger", objectives=("score", "harm_avoidance"))
observation, info = env.reset(seed=0)
env.action_space.seed(0)
total = np.zeros(2)
while True:
    # Options beyond those listed are steps without reward; the mask excludes them.
    action = env.action_space.sample(mask=info["action_mask"])
    observation, reward, terminated, truncated, info = env.step(action)
    total += reward
    if terminated or truncated:
        break
print("score, harm avoidance:", total)
