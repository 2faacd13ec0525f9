"""From a run's sections to the arguments of a trainer, with every surprising default explicit.

TRL's configs differ from transformers' in three defaults (bf16 on, gradient checkpointing on, a log line every 10
steps). Here one set holds for all trainers: 32-bit arithmetic, no gradient checkpointing, unless the config asks.
"""

import importlib.util
from typing import Any, TypeVar

import torch
from transformers import Trainer, TrainingArguments

from heirloom.config.arguments.optimizers import FORMER_OPTIMIZERS, former_optimizer_warning, zero_problem
from heirloom.config.sections.training import TrainingSection
from heirloom.distributed import on_cpu, say, world_size
from heirloom.errors import HeirloomError
from heirloom.offloading import check_offloading
from heirloom.training.callbacks.resuming import work_folder
from heirloom.training.callbacks.trackers import check_trackers
from heirloom.training.inputs.training_command import TrainingCommand
from heirloom.training.inputs.training_data import TrainingData

Arguments = TypeVar("Arguments", bound=TrainingArguments)

DEFAULTS = {"bf16": False, "fp16": False, "activation_checkpointing": False, "seed": 42}


def trainer_arguments(
    kind: type[Arguments],
    command: TrainingCommand,
    data: TrainingData,
    **own: Any,
) -> Arguments:
    """Return arguments of class `kind`; `own` are those that the script itself decides.

    Raises HeirloomError for keys that the class does not have or that are decided here, for a batch that the ranks
    cannot divide, for fp16 on a CPU and for trackers that are not installed.
    """
    section, tracking = command.training, command.tracking
    given = section.arguments
    decided = {
        "output_dir": str(work_folder(command.output)),
        "deepspeed": str(command.deepspeed) if command.deepspeed else None,
        "use_cpu": on_cpu(),
        "gradient_accumulation_steps": accumulation_steps(section, world_size()),
        "eval_on_start": data.test is not None,
        "logging_strategy": "steps",
        "logging_steps": 1,  # every step goes to the loss history; what is shown is thinned there
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "save_strategy": "steps",
        "save_steps": tracking.save_steps,
        "save_total_limit": None,  # training.callbacks.resuming deletes old ones, after the new one is complete
        "report_to": "none",  # heirloom.training.callbacks.trackers
        "run_name": tracking.run_name,
        "disable_tqdm": True,
        "log_level": tracking.log_level,
        "log_level_replica": tracking.log_level_replica,
        **command.resources.arguments,
        **own,
    }
    clash = sorted(set(given) & set(decided))
    if clash:
        raise HeirloomError(f"training: {', '.join(clash)} cannot be set there: delete it (see config/README.md)")
    if section.compares_states and data.test is None:
        raise HeirloomError(
            f"{command.dataset}: holds no test rows to choose the best state by: set processing.test_rows or "
            "test_fraction in the dataset's file, or delete training.load_best_model_at_end and early_stopping_patience"
        )
    check_hardware(given)
    check_offloading(command.deepspeed)
    if command.deepspeed and (problem := zero_problem(given.get("optim"), command.deepspeed)):
        raise HeirloomError(f"training.optim: {problem}")
    check_trackers(tracking)
    if warning := former_optimizer_warning(given.get("optim")):
        say(f"warning: training.optim: {warning}")
        given["optim"] = FORMER_OPTIMIZERS[given["optim"]]
    if "gradient_checkpointing" in given:  # the same setting's name before transformers 5
        given["activation_checkpointing"] = given.pop("gradient_checkpointing")
    for key in {"adam_beta1", "adam_beta2"} & given.keys():
        given[key] = float(given[key])  # torch wants both of one type, and 0 is a whole number in YAML
    defaults = {**DEFAULTS, "per_device_eval_batch_size": section.per_device_train_batch_size}
    try:
        args = kind(**{**defaults, **given, **decided})
    except (TypeError, ValueError) as error:
        problem = str(error).removeprefix(f"{kind.__name__}.__init__() ")
        raise HeirloomError(f"training: {kind.__name__}: {problem}") from error
    check_optimizer(args)
    return args


def accumulation_steps(section: TrainingSection, ranks: int) -> int:
    """Return how many forward passes make one optimizer step: global batch = batch a rank × ranks × this."""
    per_pass = section.per_device_train_batch_size * ranks
    steps, rest = divmod(section.global_batch_size, per_pass)
    if rest or not steps:
        nearest = max(round(section.global_batch_size / per_pass), 1) * per_pass
        raise HeirloomError(
            f"training.global_batch_size is {section.global_batch_size}, which {ranks} ranks with "
            f"per_device_train_batch_size {section.per_device_train_batch_size} cannot make: it must be a multiple of "
            f"{per_pass}, for example {nearest}; or change per_device_train_batch_size"
        )
    return steps


def check_optimizer(args: TrainingArguments) -> None:
    """Raise HeirloomError for an optimizer whose package is missing, before model and data are loaded."""
    try:
        Trainer.get_optimizer_cls_and_kwargs(args, torch.nn.Linear(1, 1))
    except ImportError as error:
        missing = str(error)
    except ValueError as error:
        missing = str(error)
        if "install" not in missing and "failed to import" not in missing:
            return  # of the model's layers, which are not known yet
    except (AttributeError, NotImplementedError, TypeError):
        return  # likewise
    else:
        return
    raise HeirloomError(f"training.optim: {args.optim.value}: {' '.join(missing.split())}")


def check_hardware(given: dict[str, Any]) -> None:
    """Raise HeirloomError for what needs hardware or a library that is not here."""
    if given.get("fp16") and on_cpu():
        raise HeirloomError("training.fp16 needs a GPU, and this machine has none: use bf16: true, or leave both out")
    if given.get("activation_offloading") and on_cpu():
        raise HeirloomError("training.activation_offloading needs a GPU, and this machine has none: delete it")
    if given.get("use_liger_kernel"):
        if on_cpu():
            raise HeirloomError("training.use_liger_kernel needs a GPU, and this machine has none: delete it")
        if importlib.util.find_spec("liger_kernel") is None:
            raise HeirloomError(
                "training.use_liger_kernel needs the package liger-kernel, which is not installed: pip install "
                "liger-kernel, or delete the key"
            )
