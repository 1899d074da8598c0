"""A reward from two sources of completions: the logit of what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pluralign.core import PreferencePair
from pluralign.learn.texts.data import Batch
from pluralign.learn.texts.rewards import PairObjective, seeded_head
from pluralign.learn.texts.session import Run, Session
from pluralign.losses.adversarial import discriminator_loss
from pluralign.rewards.heads import GaussianRewards, HeadShape
from pluralign.rewards.reward_model import RewardModel


def fit_discriminator(pairs: Sequence[PreferencePair], run: Run) -> RewardModel:
    """Learn the logit that tells chosen from rejected completions (`losses.adversarial.discriminator_loss`).

    Each completion stands for itself: which two form a pair does not matter, unlike in Bradley-Terry.

    Args:
        pairs: chosen completions are the positives, rejected ones the negatives (`pair.recipes`).
        run: model, folder, training, seed.

    Raises:
        InputError: no training pair, or the folder holds another run.
    """
    session = Session("discriminator", run, {}, pairs)
    head = seeded_head(session.backbone.hidden_size, HeadShape(), run.seed).to(session.backbone.device)

    def loss(chosen: GaussianRewards, rejected: GaussianRewards, batch: Batch) -> Tensor:
        return discriminator_loss(chosen.mean, rejected.mean) * batch.share

    curve = session.train(PairObjective(head, loss))
    return session.finish_reward_model(head, curve, policy=False)
