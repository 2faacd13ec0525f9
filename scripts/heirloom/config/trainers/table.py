"""All trainers: what graph, configuration, schemas, documents and unified_train.py know of them is here.

An entry is a module of its own. A training script imports its own entry alone, never this table, so that a new trainer,
or an edit of one, makes no other trainer's results stale.
"""

from heirloom.config.trainers.dpo import DPO
from heirloom.config.trainers.grpo import GRPO
from heirloom.config.trainers.kto import KTO
from heirloom.config.trainers.language_modeling import LANGUAGE_MODELING
from heirloom.config.trainers.orpo import ORPO
from heirloom.config.trainers.reward import REWARD
from heirloom.config.trainers.rloo import RLOO
from heirloom.config.trainers.seq2seq import SEQ2SEQ
from heirloom.config.trainers.sft import SFT

TRAINERS = {entry.name: entry for entry in (LANGUAGE_MODELING, SEQ2SEQ, SFT, DPO, ORPO, KTO, REWARD, GRPO, RLOO)}
