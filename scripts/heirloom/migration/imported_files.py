"""From a command of the former tool to the files of config/ that mean the same.

A flag goes where the tables of the project's own keys say (`config/flags.py`), under the new name where it has one.
Then the files are checked as config/ is; what the check refuses is taken out again and told with the check's sentence.
"""

import json
import re
from pathlib import Path
from typing import Any

from heirloom.config.arguments.former_names import FORMER_NAMES
from heirloom.config.arguments.instance_types import ranks
from heirloom.config.arguments.optimizers import FORMER_OPTIMIZERS
from heirloom.config.arguments.refused_arguments import refusal
from heirloom.config.dataset import Dataset
from heirloom.config.elsewhere import SECTIONS
from heirloom.config.files import value_problems
from heirloom.config.flags import flag_value, place_of
from heirloom.config.parsing.named_file import NamedFile
from heirloom.config.run import Run
from heirloom.config.sections.processing import ProcessingSection
from heirloom.config.trainers.table import TRAINERS
from heirloom.migration.commands import VARIABLE, Command
from heirloom.migration.ledger import Account, Files, truth

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
ENGINES = {"zero": "deepspeed_zero", "zero_inference": "deepspeed_zero", "deepspeed_inference": "deepspeed"}
RENAMED = {
    "task_collator": ("training", "collator"),
    "evaluation_strategy": ("training", "eval_strategy"),
    "lora_r": ("peft", "r"),
    "lora_alpha": ("peft", "lora_alpha"),
    "lora_dropout": ("peft", "lora_dropout"),
    "lora_target_modules": ("peft", "target_modules"),
    "inference_type": ("generation", "engine"),
    "s3_upload_dir": ("tracking", "s3_upload_dir"),
}
PROCESSING = ("padding", "truncation", "add_generation_prompt", "max_length", "max_prompt_length", "dataset_text_field")
TEMPLATES = ("response_template", "instruction_template")
HARMLESS = ("has no effect", "is set by the workflow", "is for ", "cannot be set here", "it is a key of trainer")
"""How sentences begin, or what they hold, of keys that decide nothing here: to leave them out changes nothing."""
UNKNOWN_LENGTH = 2048
SECRETS = {"hf_token": "HF_TOKEN", "wandb_api_key": "WANDB_API_KEY"}
"""Flags whose values are written nowhere, and the variables of the environment that take them."""


def imported(commands: list[Command], name: str | None) -> tuple[Files, dict[str, Account]]:
    """Return the files that the commands mean, and for each command's main file the account of its flags."""
    files: Files = {}
    accounts: dict[str, Account] = {}
    made = [(command, Account(command.flags)) for command in commands if command.program == "create_dataset.py"]
    used: set[int] = set()
    for command in commands:
        if command.program == "launch.py":
            account = Account(command.flags)
            path = ImportedRun(account, made, used, name).write(files)
            accounts[path] = account
    for index, (command, account) in enumerate(made):
        if index not in used:
            model = model_file(files, account, ("model_id",))
            path = dataset_file(files, command, account, model, name)
            accounts[path] = account
    for index in used:
        accounts[made[index][1].path] = made[index][1]
    return files, accounts


def file_name(text: str) -> str:
    """Return a name that config/ takes."""
    last = text.rstrip("/").rpartition("/")[2] or text
    return re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_").lower()[:50] or "imported"


def place(text: str) -> dict[str, str]:
    """Return the `source:` that a place means."""
    if text.startswith("s3://"):
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        return {"s3": f"s3://{bucket}/{prefix}"}
    return {"path": text} if Path(text).exists() else {"hub": text}


def model_file(files: Files, account: Account, flags: tuple[str, ...]) -> str:
    """Add the model's file; return its name. The first of `flags` that has a value says where it comes from."""
    given = [flag for flag in flags if account[flag]]
    for flag in flags:
        if flag in account.flags and flag not in given:
            account.settle(flag, "default", "it is empty")
    if not given:
        account.open("base: name a model of config/models/ or a run; the command names none")
        return "TODO-model"
    name = file_name(account[given[0]])
    source = place(account[given[0]])
    files[f"config/models/{name}.yaml"] = {"source": source}
    account.settle(given[0], "renamed", f"config/models/{name}.yaml source.{next(iter(source))}, and `base: {name}`")
    for flag in given[1:]:
        account.settle(flag, "dropped", f"--{given[0]} says where model and tokenizer come from")
    if "hub" in source:
        account.open(f"config/models/{name}.yaml: pin source.revision, the commit that you trained with")
    return name


def dataset_file(files: Files, command: Command, account: Account, model: str, name: str | None) -> str:
    """Add the dataset that a create_dataset.py command makes; return the path of its file."""
    source = place(account["dataset_name"] or "TODO")
    stem = file_name(name or account["dataset_name"] or "imported")
    path = f"config/datasets/{stem}.yaml"
    account.path = path
    processing: dict[str, Any] = {"processing_function": account["processing_function"] or "dummy_processing_function"}
    account.settle("dataset_name", "renamed", f"source.{next(iter(source))}")
    account.settle("processing_function", "kept", "processing.processing_function")
    account.settle("hf_token", "dropped", "give it in the environment as HF_TOKEN", secret=True)
    account.settle("process_locally", "dropped", "processing is a stage, and runs where the others do")
    account.settle("debug", "default" if not truth(account["debug"]) else "TODO", "only the first 100 rows are by hand")
    for flag in ("max_length", "max_prompt_length", "max_target_length", "truncation", "padding", "bad_rows", "kind"):
        keep_processing(account, processing, flag)
    for flag in ("add_generation_prompt", "remove_columns", "chat_template", "test_fraction", "dataset_text_field"):
        keep_processing(account, processing, flag)
    if "max_length" not in processing:
        processing["max_length"] = UNKNOWN_LENGTH
        account.open(f"processing.max_length: {UNKNOWN_LENGTH} is a guess; the command gives none")
    if "model_id" in account.flags and "model_id" not in account.fates:
        account.settle("model_id", "dropped", f"the run's model {model} gives the tokenizer")
    for flag in account.flags.keys() - account.fates.keys():
        account.settle(flag, "TODO", "create_dataset.py had no such flag")
    if "hub" in source:
        account.open("source.revision: pin the commit of the hub dataset")
    files[path] = {"tokenizer": model, "source": source, "processing": processing}
    settle_refused(files, path, Dataset, account, {key: ("processing", key) for key in processing})
    return path


def keep_processing(account: Account, processing: dict[str, Any], flag: str) -> None:
    """Put a flag into `processing:`; one that says the default needs no line."""
    if flag not in account.flags or flag in account.fates:
        return
    field = ProcessingSection.model_fields[flag]
    if field.annotation is bool:
        value: Any = truth(account[flag])
    else:
        text = account[flag]
        value = int(text) if text.isdecimal() else text
    if value == field.default:
        account.settle(flag, "default", f"processing.{flag}")
    else:
        processing[flag] = value
        account.settle(flag, "kept", f"processing.{flag}")


def settle_refused(
    files: Files, path: str, model: type[NamedFile], account: Account, places: dict[str, tuple[str, ...]]
) -> None:
    """Take out what the check of config/ refuses, a key at a time, and say of its flag why."""
    flags = {keys: flag for flag, keys in places.items()}
    while True:
        problems = [
            (keys, words) for keys, words in value_problems(model, files[path], path) if tuple(keys[:2]) in flags
        ]
        if not problems:
            return
        keys, words = problems[0]
        section, key = keys[:2]
        section_keys = files[path][section]
        if key not in section_keys:
            return
        del section_keys[key]
        flag = flags[section, key]
        account.fates.pop(flag, None)
        how = "dropped" if any(part in words for part in HARMLESS) else "TODO"
        account.settle(flag, how, f"{section}.{key} {words}")
        if how == "TODO":
            account.open(f"--{flag}: {section}.{key} {words}")


class ImportedRun:
    """A launch.py command on its way to a run's file."""

    def __init__(self, account: Account, made: list[tuple[Command, Account]], used: set[int], name: str | None) -> None:
        self.account, self.made, self.used = account, made, used
        self.name = file_name(name or account["job_prefix"] or "imported-run")
        self.trainer = self.trainer_of()
        self.run: dict[str, Any] = {}
        self.places: dict[str, tuple[str, ...]] = {}

    def trainer_of(self) -> str | None:
        """Return the trainer that the entry point and the flags name; None for inference."""
        entry = Path(self.account["code_entry_point"] or "unified_train.py").stem
        if entry == "inference":
            return None
        named = self.account["trainer_type"] or "trainer"
        trainer = named if entry == "unified_train" else {"train": "trainer"}.get(entry, entry.removesuffix("_train"))
        if trainer == "trainer" and truth(self.account["predict_with_generate"]):
            return "seq2seq"  # the former tool moved to that trainer by itself
        return trainer

    def write(self, files: Files) -> str:
        """Add the run's files and those that it stands on; return the path of its own."""
        account, run = self.account, self.run
        for flag, text in account.flags.items():
            if VARIABLE.search(text) and flag not in SECRETS:
                account.open(f"--{flag}: {text} is a variable that the script does not set; write its value")
        account.settle("job_prefix", "renamed", f"the file is config/runs/{self.name}.yaml")
        words = (
            f"`trainer: {self.trainer}` names the script" if self.trainer else "a run without `trainer:` only answers"
        )
        account.settle("code_entry_point", "dropped", words)
        run["base"] = model_file(files, account, ("s3_model_path", "model_name"))
        run["dataset"] = self.dataset(files)
        if self.trainer is not None:
            run["trainer"] = self.trainer
            account.settle("trainer_type", "renamed", f"trainer: {self.trainer}")
            if self.trainer not in TRAINERS:
                account.open(f"trainer: there is no {self.trainer}; give one of {', '.join(TRAINERS)}")
        else:
            account.settle("trainer_type", "dropped", "inference trains nothing")
        if truth(account["trust_remote_code"]):
            run["trust_remote_code"] = True
            account.settle("trust_remote_code", "kept", "at the top, for every stage: read that code first")
        else:
            account.settle("trust_remote_code", "default")
        for secret, variable in SECRETS.items():
            account.settle(secret, "dropped", f"give it in the environment as {variable}", secret=True)
        if account["wandb_api_key"]:
            run["tracking"] = {"report_to": "wandb"}
        if self.trainer is not None:
            self.deepspeed()
            self.batch()
            self.warmup()
            self.adapter()
        self.others()
        if self.trainer == "seq2seq" or self.trainer is None:
            run.setdefault("generation", {"max_new_tokens": 64})
        path = f"config/runs/{self.name}.yaml"
        files[path] = run
        settle_refused(files, path, Run, account, self.places)
        for section in [key for key, value in run.items() if value == {}]:
            del run[section]
        return path

    def put(self, flag: str, section: str, key: str, value: Any, how: str = "kept") -> None:
        """Write a flag's value into a section."""
        self.run.setdefault(section, {})[key] = value
        self.places[flag] = (section, key)
        words = f"{section}.{key}" if how == "kept" else f"{section}.{key}: {value}"
        self.account.settle(flag, how, words)

    def dataset(self, files: Files) -> str:
        """Return the name of the dataset; that which a create_dataset.py command put where the run reads from."""
        account = self.account
        path = account["train_input_path"] or ""
        for index, (command, other) in enumerate(self.made):
            destination = (command.positional or ("",))[0].rstrip("/")
            if destination and (path == destination or path.startswith(f"{destination}/")):
                self.used.add(index)
                if not other.path:
                    dataset_file(files, command, other, self.run["base"], None)
                name = Path(other.path).stem
                words = f"`dataset: {name}`, of the rows that create_dataset.py was given"
                account.settle("train_input_path", "renamed", words)
                account.settle("test_input_path", "renamed", f"the held-out rows of `dataset: {name}`")
                self.data_flags(files[other.path]["processing"], other.path, files)
                return name
        name = f"{self.name}-data"
        pairs = self.trainer in ("dpo", "orpo", "reward")
        function = "dummy_rlhf_processing_function" if pairs else "dummy_processing_function"
        processing: dict[str, Any] = {"processing_function": function}
        file = f"config/datasets/{name}.yaml"
        source = place(path) if path else {"path": "TODO"}
        files[file] = {"tokenizer": self.run["base"], "source": source, "processing": processing}
        account.settle("train_input_path", "TODO", f"{file}: source")
        account.settle("test_input_path", "TODO", f"{file}: test_split, test_rows or test_fraction of processing")
        account.open(
            f"{file}: source must be the raw rows that create_dataset.py was given (the command names its product), "
            "and processing what holds out the test rows; import that command with this one, and both are known; what "
            "this project's create_dataset.py made can be named itself: source.processed and source.kind, no processing"
        )
        self.data_flags(processing, file, files)
        return name

    def data_flags(self, processing: dict[str, Any], file: str, files: Files) -> None:
        """Put what the command says of rows into the dataset's `processing:`."""
        account = self.account
        places = {}
        for flag in PROCESSING:
            inference_length = flag == "max_length" and self.trainer is None
            if flag in account.flags and flag not in account.fates and not inference_length:
                keep_processing(account, processing, flag)
                places[flag] = ("processing", flag)
        templates = {flag: account[flag] for flag in TEMPLATES if account[flag]}
        if templates:
            processing["train_on"] = templates
            places |= dict.fromkeys(templates, ("processing", "train_on"))
        for flag in TEMPLATES:
            account.settle(flag, "renamed" if account[flag] else "default", "processing.train_on")
        account.settle("comma_separated_template", "dropped", "ids with commas are recognised")
        if "max_length" not in processing:
            length = account["seq_length"]
            processing["max_length"] = int(length) if (length or "").isdecimal() else UNKNOWN_LENGTH
            if length is None:
                account.open(f"{file}: processing.max_length: {UNKNOWN_LENGTH} is a guess; the command gives none")
        refused_rows(files, file, account, places)

    def deepspeed(self) -> None:
        """Turn the path of a DeepSpeed file into its stage and its precision."""
        account = self.account
        text = account["deepspeed"]
        if not text:
            account.settle("deepspeed", "default", "data parallel")
            return
        file = Path(text)
        stage = re.search(r"z(?:ero)?[_-]?([0-3])", file.stem.lower())
        half = re.search(r"fp16", file.stem.lower())
        if file.is_file():
            settings = json.loads(file.read_text(encoding="utf-8"))
            stage = re.match("(.)", str(settings.get("zero_optimization", {}).get("stage", 0)))
            half = settings.get("fp16", {}).get("enabled") is True
        if stage is None:
            account.settle("deepspeed", "TODO", "its name does not say the stage")
            account.open(f"deepspeed: name a file of config/deepspeed/ for {text}, which is not here")
            return
        self.run["deepspeed"] = f"zero{stage[1]}"
        words = f"deepspeed: zero{stage[1]}"
        if half:
            self.run.setdefault("training", {})["fp16"] = True
            words += ", with training.fp16: true"
        if not file.is_file():
            account.open(f"deepspeed: {words.removeprefix('deepspeed: ')} is what the name {file.name} says; compare")
        account.settle("deepspeed", "renamed", words)

    def batch(self) -> None:
        """Work out the global batch: sequences a rank × accumulation × ranks."""
        account = self.account
        each, steps = account.number("per_device_train_batch_size", 8), account.number("gradient_accumulation_steps", 1)
        count = ranks(account["instance_type"], account.number("instance_count", 1))
        if count is None:
            account.open(
                f"training.global_batch_size: the GPUs of {account['instance_type']} are not known; 1 is taken"
            )
        total = each * steps * (count or 1)
        self.run.setdefault("training", {})["global_batch_size"] = total
        words = f"training.global_batch_size: {total} = {each} × {steps} × {count or 1} ranks"
        account.settle("gradient_accumulation_steps", "renamed", words)

    def warmup(self) -> None:
        """Of two flags for the warm-up the one counts that transformers let count: steps above 0, else the share."""
        account = self.account
        share, steps = account.number("warmup_ratio", 0.0), account.number("warmup_steps", 0.0)
        if steps > 0:
            account.settle("warmup_ratio", "dropped", "--warmup_steps above 0 came before it")
        elif share > 0:
            self.put("warmup_ratio", "training", "warmup_steps", share, "renamed")
            account.settle("warmup_steps", "dropped", "0 let --warmup_ratio decide, which is warmup_steps below 1 now")
        else:
            account.settle("warmup_ratio", "default")

    def adapter(self) -> None:
        """Settle the flags of LoRA and quantization when they are switched off."""
        account = self.account
        wanted = truth(account["use_peft"])
        if "use_peft" in account.flags:
            account.settle("use_peft", "renamed" if wanted else "default", "the section `peft:`" if wanted else "")
        if not wanted:
            for flag in ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"):
                account.settle(flag, "dropped", "has no effect without --use_peft=True")
        elif "," in (account["lora_target_modules"] or ""):
            words = "every name must be a layer that the model has; PEFT alone passes over those that it has not"
            account.open(f"peft.target_modules: {words}")
        for flag in ("load_in_8bit", "load_in_4bit"):
            if flag in account.flags and not truth(account[flag]):
                account.settle(flag, "default", f"quantization.{flag}")
        if not (truth(account["load_in_8bit"]) or truth(account["load_in_4bit"])):
            for flag in [flag for flag in account.flags if flag.startswith(("bnb_4bit_", "llm_int8_"))]:
                account.settle(flag, "dropped", "has no effect on weights that are not quantized")

    def others(self) -> None:
        """Put every flag that is left where the keys of config/ have its name."""
        account = self.account
        sections = [*SECTIONS] if self.trainer is not None else ["generation", "tracking", "resources"]
        for flag in [flag for flag in account.flags if flag not in account.fates]:
            text = account[flag]
            if flag in RENAMED and RENAMED[flag][0] in sections:
                section, key = RENAMED[flag]
            elif self.trainer is None and flag == "max_length":
                section, key = "generation", flag
            elif self.trainer is None and (words := refusal("training", flag)) is not None:
                account.settle(flag, "dropped", words)
                continue
            elif flag in FORMER_NAMES:
                account.settle(flag, "dropped", FORMER_NAMES[flag])
                continue
            elif flag in PROCESSING:
                account.settle(flag, "dropped", "belongs to the dataset's file, which has it already")
                continue
            else:
                try:
                    section, key = place_of(flag, sections, self.trainer)
                except LookupError as problem:
                    words = str(problem.args[0]).removeprefix("there is no such flag; ")
                    unneeded = "it is a key of trainer" in words
                    account.settle(flag, "dropped" if unneeded else "TODO", words)
                    if not unneeded:
                        account.open(f"--{flag}: {words}")
                    continue
            if section in ("training", "generation") and (words := refusal(section, key)) is not None:
                account.settle(flag, "dropped", f"{section}.{key} {words}")
                continue
            value = self.value(section, key, text)
            how = "renamed" if key != flag or (isinstance(value, str) and value != text) else "kept"
            field = SECTIONS[section].model_fields.get(key)
            if field is not None and not field.is_required() and field.default == value:
                account.settle(flag, "default", f"{section}.{key}")
                continue
            if section == "generation" and self.trainer not in (None, "seq2seq"):
                account.settle(flag, "dropped", "this run answers nothing; add `generation:` for answers")
                continue
            self.put(flag, section, key, value, how)

    def value(self, section: str, key: str, text: str) -> Any:
        """Return a flag's value as the file has it, with the new name of a value that has one."""
        if key == "default_dtype":
            return DTYPES.get(text, text)
        if key == "engine":
            return ENGINES.get(text.lower(), text)
        if key == "optim":
            return FORMER_OPTIMIZERS.get(text, text)
        return flag_value(section, key, [text], self.trainer if self.trainer in TRAINERS else None)


def refused_rows(files: Files, path: str, account: Account, places: dict[str, tuple[str, ...]]) -> None:
    """Take out of a dataset's file what has no effect on its rows; a template names two flags."""
    while True:
        problems = value_problems(Dataset, files[path], path)
        found = next(((keys, words) for keys, words in problems if tuple(keys[:2]) in places.values()), None)
        if found is None or found[0][1] not in files[path]["processing"]:
            return
        keys, words = found
        del files[path]["processing"][keys[1]]
        for flag in [flag for flag, at in places.items() if at == tuple(keys[:2])]:
            account.fates.pop(flag, None)
            account.settle(flag, "dropped", f"processing.{keys[1]} {words}")
