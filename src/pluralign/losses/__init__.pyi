"""The public losses, each with its home."""

from pluralign.losses.contrastive import dpo as dpo
from pluralign.losses.contrastive import ipo as ipo
from pluralign.losses.contrastive import label_expectation as label_expectation
from pluralign.losses.contrastive import simpo as simpo
from pluralign.losses.reward import bradley_terry as bradley_terry
from pluralign.losses.reward import learned_variance as learned_variance
