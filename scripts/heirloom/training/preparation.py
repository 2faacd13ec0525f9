"""What every training script does before it makes its trainer: inputs, then arguments and model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from transformers import PreTrainedModel, PreTrainedTokenizerFast, TrainingArguments, set_seed

from heirloom.arithmetic.ranks import start_computing
from heirloom.distributed import start_deepspeed
from heirloom.errors import HeirloomError
from heirloom.models.remote_code import trust
from heirloom.training.inputs.adapter_bases import put_base_together
from heirloom.training.inputs.base_models import load_model, load_tokenizer
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import TrainingData, check_lengths, load_training_data
from heirloom.training.training_arguments import trainer_arguments

Arguments = TypeVar("Arguments", bound=TrainingArguments)


def load_inputs(command: TrainingCommand) -> tuple[TrainingData, PreTrainedTokenizerFast]:
    """Start this rank; return the rows, of a kind that the trainer takes, and the base's tokenizer.

    Raises HeirloomError when either does not fit.
    """
    start_computing(portable=command.portable, deterministic=command.training.deterministic)
    trust(command.training.trust_remote_code)
    return load_training_data(command.dataset, command.trainer.row_kinds), load_tokenizer(command.base)


def arguments_and_model(
    kind: type[Arguments], command: TrainingCommand, data: TrainingData, **own: Any
) -> tuple[Arguments, PreTrainedModel]:
    """Return the trainer's arguments, `own` being those that the script itself decides, and then the base model.

    The order matters: DeepSpeed starts on the ranks that the arguments have started, and ZeRO-3 shards a model while it
    loads. Raises HeirloomError, see `trainer_arguments`, `load_model` and `check_lengths`.
    """
    args = trainer_arguments(kind, command, data, **own)
    start_deepspeed()
    put_base_together(command, args)
    if command.trainer.scores:
        set_seed(args.seed)  # the head's first weights are random, the same on every rank
    model = load_model(command)
    joined = command.training.seq_length if command.trainer.joins_rows else None
    check_lengths(data, model, command.base, joined)
    return args, model


@contextmanager
def making_trainer() -> Iterator[None]:
    """Make a trainer inside: what its library has against the run is a sentence, no traceback.

    Raises HeirloomError in place of ValueError, TypeError, ImportError and NotImplementedError.
    """
    try:
        yield
    except HeirloomError:
        raise
    except (ImportError, NotImplementedError, TypeError, ValueError) as error:
        raise HeirloomError(f"this run cannot be trained: {' '.join(str(error).split())}") from error
