"""Settings of the learners over listed options. Command lines name them as well, so this module needs no
torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pluralign.core import InputError
from pluralign.core.checks import require

Backup = Literal["max", "expectile", "taken", "reference"]
Unseen = Literal["pessimistic", "free", "never"]


@dataclass(frozen=True)
class BCConfig:
    """Settings of `fit_bc`.

    Args:
        steps: Number of optimizer steps (ours; on a few hundred decisions the loss is flat after them).
        batch_size: Trajectory steps per optimizer step (ours).
        learning_rate: Learning rate of AdamW, decaying linearly to 0 (ours, for a head on frozen features; a
            LoRA adapter needs about 1e-4).
        weight_decay: Weight decay of AdamW (ours).
        hidden: Width of the head's hidden layer; 0 for a linear head (ours).
        lora_rank: Rank of a LoRA adapter on the trunk; 0 keeps the trunk frozen.
        beta: Temperature of the weights of steps, in standard deviations of the advantages; only with an
            objective (ours; smaller is greedier).
    """

    steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    hidden: int = 64
    lora_rank: int = 0
    beta: float = 0.5

    def __post_init__(self) -> None:
        lowest = {"steps": 1, "batch_size": 1, "learning_rate": 0, "weight_decay": 0, "hidden": 0}
        require(self, {**lowest, "lora_rank": 0, "beta": 1e-6})


@dataclass(frozen=True)
class AVRILConfig:
    """Settings of `fit_avril`. "Code" is scalable-birl (Chan and van der Schaar 2021).

    With ``td_weight`` = ``kl_weight`` = 1, the optimal mu for a TD error delta is delta clipped to [-1, 1],
    and the optimal sigma^2 is |delta - mu|. In nats (times beta), a step's mean reward is then at most one
    standard deviation of the prior. What remains of the bound is a Huber penalty on delta.

    Args:
        steps: Optimizer steps (ours).
        batch_size: Steps of trajectories in each optimizer step (ours).
        learning_rate: Learning rate of AdamW, falling linearly to 0 (ours; code: Adam, 1e-4 throughout).
        weight_decay: Weight decay of AdamW (code: none).
        hidden: Width of the two hidden layers of both networks (code: 64).
        gamma: Discount factor (code: 1).
        beta: Inverse temperature of the demonstrator (code: 1).
        td_weight: Weight lambda of the TD errors' likelihood under the reward (code: 1).
        kl_weight: Weight of the KL divergence from the prior (code: 1). Below ``td_weight`` the bound has no
            maximum: it grows without end as sigma goes to 0 around a temporal difference that never varies.
    """

    steps: int = 1000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    hidden: int = 64
    gamma: float = 1.0
    beta: float = 1.0
    td_weight: float = 1.0
    kl_weight: float = 1.0

    def __post_init__(self) -> None:
        lowest = {"steps": 1, "batch_size": 1, "learning_rate": 0, "weight_decay": 0, "hidden": 1}
        lowest |= {"gamma": 0, "beta": 1e-12, "td_weight": 0, "kl_weight": 0}
        require(self, lowest, {"gamma": 1})


@dataclass(frozen=True)
class QConfig:
    """Settings of `fit_q`.

    Args:
        backup: Value of the decision that a target continues from: that of the best option (max), the
            expectile of the options that the data took (IQL), that of the option that followed in the episode
            (taken: SARSA), or that of a reference policy's greedy option (B-Coder).
        tau: Level of the expectile (IQL: 0.7 to 0.9); for no other backup.
        n: Number of steps of rewards before a target continues from a value. With more than one, the targets
            contain the behaviour's mistakes.
        heads: Number of networks. Options are judged by the one that gives them the lowest value (RAVL: 10).
        unseen: Treatment of options that the data never took: by the network that gives them the lowest value
            (pessimistic), by the mean of all networks (free), or not chosen in targets (never). The policy
            acts in the same way; it cannot know what was never taken, so never acts as pessimistic.
        conservative: Factor of CQL's penalty, which lowers the values of options other than those taken.
        gamma: Discount factor of rewards; stories are not discounted.
        temperature: Temperature of the policy, in ranges of an objective's returns.
        steps: Number of optimizer steps.
        batch_size: Number of recorded steps per optimizer step.
        learning_rate: Learning rate of AdamW, falling linearly to 0.
        weight_decay: Weight decay of AdamW.
        hidden: Width of the networks' hidden layer.
        follow: Step size with which the target networks follow, per optimizer step (DRRN: 0.02).
    """

    backup: Backup = "max"
    tau: float = 0.9
    n: int = 1
    heads: int = 5
    unseen: Unseen = "pessimistic"
    conservative: float = 0.0
    gamma: float = 1.0
    temperature: float = 0.01
    steps: int = 3000
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    hidden: int = 64
    follow: float = 0.02

    def __post_init__(self) -> None:
        lowest = {"n": 1, "heads": 1, "conservative": 0, "gamma": 0, "temperature": 1e-9, "steps": 1}
        lowest |= {"batch_size": 1, "learning_rate": 0, "weight_decay": 0, "hidden": 1, "follow": 1e-6}
        require(self, {**lowest, "tau": 1e-6}, {"gamma": 1, "follow": 1, "tau": 1 - 1e-6})
        for name, known in (("backup", get_args(Backup)), ("unseen", get_args(Unseen))):
            if getattr(self, name) not in known:
                raise InputError(
                    f"must be one of {', '.join(known)}, found {getattr(self, name)!r}", field=name
                )
        if self.tau != QConfig.tau and self.backup != "expectile":
            raise InputError(f"is for the backup expectile, not {self.backup}", field="tau")


@dataclass(frozen=True)
class Contrast:
    """Parameters of the contrastive loss; see `losses.contrastive.cpl_loss`."""

    alpha: float
    conservative_bias: float
    gamma: float
    bc_weight: float


@dataclass(frozen=True)
class CPLConfig:
    """Settings of `fit_cpl`. "CPL" is Hejna et al. 2024 and its code, jhejna/cpl.

    Args:
        steps: Number of optimizer steps of both phases together (ours).
        batch_size: Pairs per step, or trajectory steps during the warm-up (ours).
        learning_rate: Learning rate of AdamW, decaying linearly to 0 in each phase (ours, for a head on
            frozen features; a LoRA adapter needs about 1e-4).
        weight_decay: Weight decay of AdamW (ours).
        hidden: Width of the head's hidden layer; 0 for a linear head (ours).
        lora_rank: Rank of a LoRA adapter on the trunk; 0 keeps the trunk frozen.
        alpha: Temperature of the advantage (CPL: 0.1).
        conservative_bias: Factor lambda of the rejected side (the poster's eq. 1: 1; CPL: 0.5, which measures
            worse in all our experiments, docs/papers.md).
        gamma: Discount factor (CPL's code: 1).
        bc_share: Share of the steps used for the behaviour cloning warm-up (CPL: 0.4).
        bc_weight: Weight of the likelihood of both segments in the second phase (CPL-BC: 1, with lambda 1).
        kl: Whether advantages are relative to a reference policy (CPL-KL): the given one, or the policy after
            the warm-up.
    """

    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    hidden: int = 64
    lora_rank: int = 0
    alpha: float = 0.1
    conservative_bias: float = 1.0
    gamma: float = 1.0
    bc_share: float = 0.4
    bc_weight: float = 0.0
    kl: bool = False

    def __post_init__(self) -> None:
        tiny = 1e-12
        lowest = {
            "steps": 1,
            "batch_size": 1,
            "learning_rate": 0,
            "weight_decay": 0,
            "hidden": 0,
            "lora_rank": 0,
        }
        lowest |= {"alpha": tiny, "conservative_bias": tiny, "gamma": 0, "bc_share": 0, "bc_weight": 0}
        require(self, lowest, {"conservative_bias": 1, "gamma": 1, "bc_share": 1})

    @property
    def warm_up_steps(self) -> int:
        """Number of behaviour cloning steps."""
        return round(self.bc_share * self.steps)

    @property
    def contrast(self) -> Contrast:
        """Parameters of the contrastive loss."""
        return Contrast(self.alpha, self.conservative_bias, self.gamma, self.bc_weight)
