"""From random play to a steered policy: one agent per objective, trained once, and mixed by weights."""

import tempfile

import pluralign as pl

game = pl.open_story("salt_ledger")
goals = game.info.select(["score", "harm_avoidance"])
# A tiny random trunk suffices if every decision has been seen in training; try "smollm2-135m".
store = pl.Models("tiny-random").store

played = list(pl.roll_out(game.make_game, pl.UniformPolicy(), episodes=400, seed=0, objectives=goals))
comparisons = pl.make_comparisons(played, count=3000, seed=0)
agents = {}
with tempfile.TemporaryDirectory() as folder:
    for goal in goals:
        ratings = pl.Oracle(played).rate(comparisons, goal)
        rated = [(pair, rating) for pair, rating in zip(comparisons, ratings, strict=True) if rating]
        said = [pl.Annotation(pair, goal.name, "oracle", rating.preference) for pair, rating in rated]
        agents[goal.name] = pl.fit_cpl(
            pl.make_pairs(said, ties="soft", shares=(1, 0, 0)),
            store=store,
            out=f"{folder}/{goal.name}",
            config=pl.learn.CPLConfig(steps=300, learning_rate=0.01, alpha=0.3),
        )
found = pl.sweep_story(agents, "salt_ledger", steps=2, episodes=100)
for point in found.points:
    print(f"weight of score {point.weights['score']}:", {k: round(v, 1) for k, v in point.returns.items()})
print(f"hypervolume: {found.hypervolume_ratio:.2f} of the exact front's")
