"""The public names, each with its home: read by type checkers, and by ``__init__.py`` at run time."""

from pluralign import losses as losses
from pluralign.annotate.comparisons import make_comparisons as make_comparisons
from pluralign.annotate.oracle import Oracle as Oracle
from pluralign.collect.roll_out import roll_out as roll_out
from pluralign.core import Annotation as Annotation
from pluralign.core import Decision as Decision
from pluralign.core import Demonstration as Demonstration
from pluralign.core import InputError as InputError
from pluralign.core import Objective as Objective
from pluralign.core import Policy as Policy
from pluralign.core import PreferencePair as PreferencePair
from pluralign.core import Segment as Segment
from pluralign.core import SteeringWeights as SteeringWeights
from pluralign.core import Step as Step
from pluralign.core import Trajectory as Trajectory
from pluralign.core import UniformPolicy as UniformPolicy
from pluralign.core import simplex_grid as simplex_grid
from pluralign.core.pareto import hypervolume as hypervolume
from pluralign.core.pareto import pareto_front as pareto_front
from pluralign.data.load import load_demonstrations as load_demonstrations
from pluralign.data.load import load_pairs as load_pairs
from pluralign.data.load import load_prompts as load_prompts
from pluralign.data.load import load_scored as load_scored
from pluralign.evaluate.model_check import check_model as check_model
from pluralign.evaluate.play import evaluate_policy as evaluate_policy
from pluralign.evaluate.sweeps.prompts import sweep as sweep
from pluralign.games.env import make_env as make_env
from pluralign.games.exact_front import exact_front as exact_front
from pluralign.games.open import open_story as open_story
from pluralign.learn.methods import METHODS as METHODS
from pluralign.learn.methods import method_table as method_table
from pluralign.learn.options.bc import fit_bc as fit_bc
from pluralign.learn.options.cpl import fit_cpl as fit_cpl
from pluralign.learn.texts.memory import estimate_memory as estimate_memory
from pluralign.learn.texts.policies import fit_policy as fit_policy
from pluralign.learn.texts.rewards import fit_reward as fit_reward
from pluralign.learn.texts.training_options import Training as Training
from pluralign.pair.pairs import make_pairs as make_pairs
from pluralign.rewards.open import load_reward as load_reward
from pluralign.steer.policies import Policies as Policies
from pluralign.steer.policies import load_policies as load_policies
from pluralign.steer.steered_policy import SteeredPolicy as SteeredPolicy
from pluralign.steer.targets import meet_targets as meet_targets

__version__: str
