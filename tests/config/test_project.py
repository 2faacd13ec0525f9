"""Every mistake in config/ is told at once, before any job: the file, the line, the key, the remedy."""

# ruff: noqa: E501 - messages stand here as they are printed

import errno
import os
from collections.abc import Callable

import pytest

from heirloom.config import files
from heirloom.config.project import ConfigErrors, load_project
from pipeline.graph.graph import build_graph, load_graph

CAN_CHANGE = (
    "pin the commit: `make pin` writes it, the 40 hex digits that the hub shows under Files and versions → History of"
)
SOURCES_AND_TARGETS = (
    "tokenizer: tiny\nsource: {generator: demo, part: text, rows: 9}\n"
    "processing: {processing_function: seq2seq_processing_function, max_length: 128}\n"
)
CREDENTIAL = "looks like a credential; delete it here, revoke it, and give it in the environment (HF_TOKEN, …)"


def changed(path: str, old: str, new: str) -> Callable:
    return lambda workplace: workplace.change(path, old, new)


def written(path: str, text: str) -> Callable:
    return lambda workplace: workplace.write(path, text)


def test_a_right_project_loads(workplace):
    project = workplace.load()
    assert set(project.runs) == {"pretrain", "sft", "dpo"}
    assert project.warnings == []
    assert (project.kind("both"), project.kind("text"), project.root_model("dpo")) == ("chat", "text", "tiny")
    sft = project.runs["sft"]
    assert (sft.name, sft.path) == ("sft", "config/runs/sft.yaml")
    assert sft.raw["training"] == {"global_batch_size": 64, "learning_rate": 0.0001}
    assert sft.training.arguments == {"per_device_train_batch_size": 8, "learning_rate": 0.0001}
    assert "tracking" not in sft.raw and sft.tracking.logging_steps == 10


ONE_MISTAKE = {
    # keys and types
    "unknown key of a file": (
        changed("config/runs/sft.yaml", "base: pretrain\n", "base: pretrain\ndeepsped: zero2\n"),
        "config/runs/sft.yaml:2: deepsped: there is no such key; did you mean deepspeed?",
    ),
    "unknown key of a section": (
        changed("config/datasets/text.yaml", "packed", "paked"),
        "config/datasets/text.yaml:3: processing.paked: there is no such key; did you mean packed?",
    ),
    "unknown key of a library": (
        changed("config/runs/sft.yaml", "learning_rate", "learnin_rate"),
        "config/runs/sft.yaml:6: training.learnin_rate: trl.SFTConfig 1.16.0 has no such key; did you mean learning_rate?",
    ),
    "unknown key of generation": (
        changed("config/runs/sft.yaml", "max_new_tokens: 16", "max_new_tokens: 16, temperatur: 0.5"),
        "config/runs/sft.yaml:7: generation.temperatur: transformers.GenerationConfig 5.23.0 has no such key; "
        "did you mean temperature?",
    ),
    "missing key": (
        changed("config/runs/pretrain.yaml", "base: tiny\n", ""),
        "config/runs/pretrain.yaml: base: this key is missing; give it: model in config/models/, or another run: its "
        "checkpoint",
    ),
    "missing key of a section": (
        changed("config/datasets/chats.yaml", ", max_length: 128", ""),
        "config/datasets/chats.yaml:3: processing.max_length: this key is missing; give it: longest row, tokens",
    ),
    "quoted number": (
        changed("config/runs/sft.yaml", "1e-4", '"1e-4"'),
        "config/runs/sft.yaml:6: training.learning_rate: expected a number, found the text '1e-4'; write it without "
        "quotes",
    ),
    "yes for true": (
        changed("config/runs/sft.yaml", "learning_rate: 1e-4", "bf16: yes"),
        "config/runs/sft.yaml:6: training.bf16: expected true or false, found the text 'yes'; write true or false",
    ),
    "fraction for a whole number": (
        changed("config/runs/sft.yaml", "learning_rate: 1e-4", "max_steps: 1.5"),
        "config/runs/sft.yaml:6: training.max_steps: expected a whole number, found 1.5",
    ),
    "text for a list": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "sigmoid"),
        "config/runs/dpo.yaml:7: training.loss_type: expected a list, found the text 'sigmoid'; write [sigmoid]",
    ),
    "choice in a list": (
        changed("config/runs/dpo.yaml", "base: sft\n", "base: sft\ntracking: {report_to: [wandbb]}\n"),
        "config/runs/dpo.yaml:2: tracking.report_to[0]: expected none, wandb, tensorboard, mlflow or trackio, found the text 'wandbb'; did you mean wandb?",
    ),
    "choice of a library": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "[sigmod]"),
        "config/runs/dpo.yaml:7: training.loss_type[0]: the text 'sigmod' is none of the 15 that are known; did you mean "
        "sigmoid?",
    ),
    "unknown trainer": (
        changed("config/runs/dpo.yaml", "trainer: dpo", "trainer: dpoo"),
        "config/runs/dpo.yaml:3: trainer: expected trainer, seq2seq, sft, dpo, orpo, kto, reward, grpo or rloo, found the text 'dpoo'; did you "
        "mean dpo?",
    ),
    "out of range": (
        changed("config/runs/dpo.yaml", "global_batch_size: 64", "global_batch_size: 0"),
        "config/runs/dpo.yaml:5: training.global_batch_size: expected at least 1, found 0",
    ),
    "empty section": (
        written("config/runs/x.yaml", "base: tiny\ndataset: text\ntrainer: trainer\ntraining:\n"),
        "config/runs/x.yaml:4: training: has no value; give one or delete the key",
    ),
    # YAML
    "key given twice": (
        written("config/runs/x.yaml", "base: tiny\nenabled: true\nbase: pretrain\n"),
        "config/runs/x.yaml:3: base: this key is given twice (the mapping starts on line 1); keep one",
    ),
    "not YAML": (
        written("config/runs/x.yaml", "base: [tiny\n"),
        "config/runs/x.yaml:1: is not valid YAML: while parsing a flow sequence, did not find expected ',' or ']'",
    ),
    "not a mapping": (
        written("config/models/x.yaml", "- tokenizer\n"),
        "config/models/x.yaml: expected a mapping of keys, found a list",
    ),
    # models
    "unknown model type": (
        changed("config/models/tiny.yaml", "llama", "lama"),
        "config/models/tiny.yaml:2: init.model_type: transformers 5.23.0 trains no lama; did you mean llama?",
    ),
    "unknown key of a model": (
        changed("config/models/tiny.yaml", "hidden_size", "hiden_size"),
        "config/models/tiny.yaml:2: init.hiden_size: llama of transformers 5.23.0 has no such key; did you mean hidden_size?",
    ),
    "older key of a model": (
        changed("config/models/tiny.yaml", "hidden_size: 96", "rope_theta: 100.0"),
        "config/models/tiny.yaml:2: init.rope_theta: llama of transformers 5.23.0 has no such key; use rope_parameters: {rope_type: default, rope_theta: …}",
    ),
    "wrong type in a model": (
        changed("config/models/tiny.yaml", "hidden_size: 96", "hidden_size: 96.5"),
        "config/models/tiny.yaml:2: init.hidden_size: expected a whole number, found 96.5",
    ),
    "heads that share no keys alike": (
        changed("config/models/tiny.yaml", "hidden_size: 96", "num_attention_heads: 8, num_key_value_heads: 3"),
        "config/models/tiny.yaml:2: init.num_key_value_heads: 3 heads do not divide num_attention_heads, 8; give a number "
        "that does",
    ),
    "heads that share no width alike": (
        changed("config/models/tiny.yaml", "hidden_size: 96", "hidden_size: 96, num_attention_heads: 7"),
        "config/models/tiny.yaml:2: init.num_attention_heads: 7 heads do not divide hidden_size, 96; give a number that "
        "does",
    ),
    # names
    "leftover of an editor": (
        written("config/runs/sft.yaml.orig", "base: tiny\n"),
        "config/runs/sft.yaml.orig: is not read; only NAME.yaml belongs here: delete it or move it away",
    ),
    "folder of former runs": (
        written("config/runs/old/sft.yaml", "base: tiny\n"),
        "config/runs/old: is not read; only NAME.yaml belongs here: delete it or move it away",
    ),
    "file with another suffix": (
        written("config/runs/x.yml", "base: tiny\n"),
        "config/runs/x.yml: is not read; only NAME.yaml belongs here: call it x.yaml or move it away",
    ),
    "characters of a name": (
        written("config/models/llama 3.1.yaml", "source: {path: data}\n"),
        "config/models/llama 3.1.yaml: a name is made of letters, digits, - and _, at most 63; call the file "
        "llama-3-1.yaml",
    ),
    "name of a model and a run": (
        written("config/models/dpo.yaml", "source: {path: data}\n"),
        "config/runs/dpo.yaml: there is also config/models/dpo.yaml, and `base: dpo` could mean either; rename one",
    ),
    # folders
    "a name in two folders": (
        written("config/demo/runs/dpo.yaml", "base: sft\ngeneration: {dataset: chats}\n"),
        "config/demo/runs/dpo.yaml: there is also config/runs/dpo.yaml, and a name is one file's: rename one (or see "
        "config/project.yaml)",
    ),
    "a mistake in a folder beside": (
        written("config/examples/runs/more.yaml", "base: stf\ngeneration: {dataset: chats}\n"),
        "config/examples/runs/more.yaml:1: base: there is no model and no run stf; did you mean sft?",
    ),
    "folder that is not there": (
        written("config/project.yaml", "# mine\nalso_read:\n  - demmo\n"),
        "config/project.yaml:3: also_read[0]: there is no folder config/demmo; there are: none",
    ),
    "folder that is none to read": (
        written("config/project.yaml", "also_read: [runs]\n"),
        "config/project.yaml:1: also_read: 'runs' is no folder with datasets/, models/ and runs/ in it; name one of "
        "config/",
    ),
    "unknown key of the project": (
        written("config/project.yaml", "also_reed: []\n"),
        "config/project.yaml:1: also_reed: there is no such key; did you mean also_read?",
    ),
    # references
    "unknown base": (
        changed("config/runs/dpo.yaml", "base: sft", "base: stf"),
        "config/runs/dpo.yaml:1: base: there is no model and no run stf; did you mean sft?",
    ),
    "unknown dataset": (
        changed("config/runs/dpo.yaml", "dataset: pairs", "dataset: pears"),
        "config/runs/dpo.yaml:2: dataset: there is no config/datasets/pears.yaml; did you mean pairs?",
    ),
    "unknown dataset of a section": (
        changed("config/runs/dpo.yaml", "dataset: chats", "dataset: chat"),
        "config/runs/dpo.yaml:8: generation.dataset: there is no config/datasets/chat.yaml; did you mean chats?",
    ),
    "unknown model of a dataset": (
        changed("config/datasets/pairs.yaml", "tokenizer: tiny", "tokenizer: tini"),
        "config/datasets/pairs.yaml:1: tokenizer: there is no config/models/tini.yaml; did you mean tiny?",
    ),
    "unknown part of a mixture": (
        changed("config/datasets/both.yaml", "more-chats", "more-chat"),
        "config/datasets/both.yaml:5: mixture.datasets.more-chat: there is no config/datasets/more-chat.yaml; did you "
        "mean more-chats?",
    ),
    "unknown dataset of a tokenizer": (
        changed("config/models/tiny.yaml", "train_on: text", "train_on: texts"),
        "config/models/tiny.yaml:1: tokenizer.train_on: there is no config/datasets/texts.yaml; did you mean text?",
    ),
    "tokenizer of a mixture": (
        changed("config/models/tiny.yaml", "train_on: text", "train_on: both"),
        "config/models/tiny.yaml:1: tokenizer.train_on: both is a mixture and has no raw text; name one of the datasets "
        "in it",
    ),
    "tokenizer of chats": (
        changed("config/models/tiny.yaml", "train_on: text", "train_on: chats"),
        "config/models/tiny.yaml:1: tokenizer.train_on: chats has chat rows (conversations), and a tokenizer is trained "
        "on the `text` of raw rows; name a dataset of plain text",
    ),
    "circle of runs": (
        changed("config/runs/pretrain.yaml", "base: tiny", "base: dpo"),
        "config/runs/dpo.yaml:1: base: the runs go round in a circle: dpo → sft → pretrain → dpo; one must stand on a "
        "model",
    ),
    "run on itself": (
        changed("config/runs/pretrain.yaml", "base: tiny", "base: pretrain"),
        "config/runs/pretrain.yaml:1: base: the runs go round in a circle: pretrain → pretrain; one must stand on a model",
    ),
    "circle of mixtures": (
        changed("config/datasets/both.yaml", "more-chats", "both"),
        "config/datasets/both.yaml:3: mixture.datasets: mixtures in a circle: both → both; break it",
    ),
    "disabled base": (
        changed("config/runs/pretrain.yaml", "base: tiny", "base: tiny\nenabled: false"),
        "config/runs/sft.yaml:1: base: the run pretrain has `enabled: false`, and its checkpoint is needed; enable it too",
    ),
    # what goes together
    "DPO without chosen and rejected": (
        changed("config/runs/dpo.yaml", "dataset: pairs", "dataset: chats"),
        "config/runs/dpo.yaml:2: dataset: trainer dpo learns from preference rows (prompt, chosen and rejected), and "
        "chats has chat rows; choose another dataset or trainer",
    ),
    "ORPO without chosen and rejected": (
        written(
            "config/runs/orpo.yaml",
            "base: tiny\ndataset: text\ntrainer: orpo\ntraining: {global_batch_size: 16}\n",
        ),
        "config/runs/orpo.yaml:2: dataset: trainer orpo learns from preference rows (prompt, chosen and rejected), and "
        "text has text rows; choose another dataset or trainer",
    ),
    "SFT on pairs": (
        written("config/runs/x.yaml", "base: tiny\ndataset: pairs\ntrainer: sft\ntraining: {global_batch_size: 16}\n"),
        "config/runs/x.yaml:2: dataset: trainer sft learns from chat or text rows (conversations), and pairs has "
        "preference rows; choose another dataset or trainer",
    ),
    "a collator of another trainer": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: pairs\ntrainer: dpo\ntraining: {global_batch_size: 16, collator: completion_only}\n",
        ),
        "config/runs/x.yaml:4: training.collator: completion_only does not fit trainer: dpo, which takes rl_dynamic_padding_only (default: rl_dynamic_padding_only)",
    ),
    "an attention that does not exist": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: text\ntrainer: trainer\n"
            "training: {global_batch_size: 16, attn_implementation: sdpaa}\n",
        ),
        "config/runs/x.yaml:4: training.attn_implementation: there is no attention sdpaa; did you mean sdpa?",
    ),
    "mlm_probability without its collator": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: text\ntrainer: trainer\ntraining: {global_batch_size: 16, mlm_probability: 0.3}\n",
        ),
        "config/runs/x.yaml:4: training.mlm_probability: has no effect without collator: mlm; add that or delete it",
    ),
    "seq_length without packing": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, seq_length: 64}\n",
        ),
        "config/runs/x.yaml:4: training.seq_length: has no effect here: rows are neither joined nor packed; add packing: true or delete it",
    ),
    "seq_length of pairs": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: pairs\ntrainer: dpo\ntraining: {global_batch_size: 16, seq_length: 64}\n",
        ),
        "config/runs/x.yaml:4: training.seq_length: has no effect here: rows are neither joined nor packed; delete it",
    ),
    "a strategy without packing": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, packing_strategy: bfd}\n",
        ),
        "config/runs/x.yaml:4: training.packing_strategy: has no effect without packing: true; add that or delete it",
    ),
    "pairs grouped by length": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: pairs\ntrainer: dpo\n"
            "training: {global_batch_size: 16, train_sampling_strategy: group_by_length}\n",
        ),
        "config/runs/x.yaml:4: training.train_sampling_strategy: cannot group pairs by length, which have two sequences; "
        "delete it",
    ),
    "padding_free in DPO": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: pairs\ntrainer: dpo\ntraining: {global_batch_size: 16, padding_free: true}\n",
        ),
        "config/runs/x.yaml:4: training.padding_free: is switched off in this version of TRL's DPOTrainer, which would pad all the same; delete it",
    ),
    "a 4-bit key beside 8 bits": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, max_steps: 1}\npeft: {r: 4}\nquantization: {load_in_8bit: true, bnb_4bit_quant_type: nf4}\n",
        ),
        "config/runs/x.yaml:6: quantization.bnb_4bit_quant_type: has no effect beside load_in_8bit: true; delete it",
    ),
    "a module trained in two ways": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, max_steps: 1}\npeft: {target_modules: 'q_proj, lm_head', modules_to_save: [lm_head]}\n",
        ),
        "config/runs/x.yaml:5: peft.modules_to_save: lm_head stands in target_modules too: a module is trained whole or by an adapter",
    ),
    "no module at all": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, max_steps: 1}\npeft: {target_modules: 'q_proj,,'}\n",
        ),
        "config/runs/x.yaml:5: peft.target_modules: names no module; give names such as q_proj,v_proj, or all-linear",
    ),
    "weights without a layer, and dropout": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, max_steps: 1}\npeft:\n  lora_dropout: 0.1\n  target_parameters: [experts.down_proj]\n",
        ),
        "config/runs/x.yaml:6: peft.lora_dropout: cannot be applied to an adapter of a weight that is no layer of its own, and target_parameters names such; delete one of the two",
    ),
    "weights without a layer, and trained whole": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, max_steps: 1}\npeft:\n  modules_to_save: [experts]\n  target_parameters: [experts.down_proj]\n",
        ),
        "config/runs/x.yaml:6: peft.modules_to_save: experts stands in target_parameters too: a weight is trained whole or by an adapter",
    ),
    "a weight without a name": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, max_steps: 1}\npeft:\n  target_modules: []\n  target_parameters: ['']\n",
        ),
        "config/runs/x.yaml:7: peft.target_parameters: has an empty name; give ends of names such as experts.down_proj",
    ),
    "a former key of ours": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: sft\ntraining: {global_batch_size: 16, dtype: bfloat16}\n",
        ),
        "config/runs/x.yaml:4: training.dtype: is no key of the pinned version any more: use default_dtype",
    ),
    "dataset of another model": (
        written("config/runs/x.yaml", "base: big\ndataset: chats\ngeneration: {}\n"),
        "config/runs/x.yaml:2: dataset: chats is tokenized for the model tiny, and this run stands on big; use a dataset "
        "with `tokenizer: big`",
    ),
    "mixture of two kinds": (
        changed("config/datasets/both.yaml", "more-chats", "pairs"),
        "config/datasets/both.yaml:5: mixture.datasets.pairs: has preference rows and the others have chat rows; mix one "
        "kind only",
    ),
    "mixture of two tokenizers": (
        changed("config/datasets/more-chats.yaml", "tokenizer: tiny", "tokenizer: big"),
        "config/datasets/both.yaml:5: mixture.datasets.more-chats: more-chats has the tokenizer of big and the mixture "
        "that of tiny, whose token ids mean something else; give all the same `tokenizer:`",
    ),
    "weight of a mixture": (
        changed("config/datasets/both.yaml", "more-chats: 0.3", "more-chats: 0"),
        "config/datasets/both.yaml:3: mixture.datasets: the weights of more-chats must be greater than 0; delete what to "
        "leave out",
    ),
    "batch that two ranks cannot divide": (
        changed("config/runs/pretrain.yaml", "global_batch_size: 64", "global_batch_size: 72"),
        "config/runs/pretrain.yaml:6: training.global_batch_size: 72 is no multiple of 16 = per_device_train_batch_size 8 "
        "× 2 ranks (no resources.instance_type, so two CPU ranks are assumed); set global_batch_size to 64 or "
        "per_device_train_batch_size to 6",
    ),
    "batch that 16 GPUs cannot divide": (
        changed(
            "config/runs/dpo.yaml",
            "base: sft\n",
            "base: sft\nresources: {instance_type: ml.p4d.24xlarge, instance_count: 2}\n",
        ),
        "config/runs/dpo.yaml:6: training.global_batch_size: 64 is no multiple of 128 = per_device_train_batch_size 8 × "
        "16 ranks (2 × ml.p4d.24xlarge); set global_batch_size to 128 or per_device_train_batch_size to 4",
    ),
    "batch that 16 GPUs of Slurm nodes cannot divide": (
        changed(
            "config/runs/dpo.yaml",
            "base: sft\n",
            "base: sft\nresources: {instance_type: ml.g5.xlarge, nodes: 2, gpus_per_node: 8}\n",
        ),
        "config/runs/dpo.yaml:6: training.global_batch_size: 64 is no multiple of 128 = per_device_train_batch_size 8 × "
        "16 ranks (2 Slurm nodes × 8 GPUs); set global_batch_size to 128 or per_device_train_batch_size to 4",
    ),
    "evaluation without generation": (
        changed("config/runs/sft.yaml", "generation: {max_new_tokens: 16}\n", ""),
        "config/runs/sft.yaml:7: evaluation.metrics: need answers to score; add `generation:` or keep only perplexity",
    ),
    "generation without prompts": (
        changed("config/runs/dpo.yaml", "generation: {dataset: chats}", "generation: {dataset: text}"),
        "config/runs/dpo.yaml:8: generation.dataset: text has text rows, which hold no prompts; name a chat, "
        "preference or seq2seq dataset",
    ),
    "answers in training without generation": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: seq2seq\n"
            "training: {global_batch_size: 16, predict_with_generate: true}\n",
        ),
        "config/runs/x.yaml:4: training.predict_with_generate: needs `generation:`, which says how prompts are answered; "
        "add that section or delete it",
    ),
    "answers in training to other prompts": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: seq2seq\n"
            "training: {global_batch_size: 16, predict_with_generate: true}\ngeneration: {dataset: both}\n",
        ),
        "config/runs/x.yaml:5: generation.dataset: would be answered after training only: predict_with_generate answers "
        "the test rows of `dataset`; delete one of the two",
    ),
    "beams in training": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ntrainer: seq2seq\n"
            "training: {global_batch_size: 16, generation_num_beams: 2}\n",
        ),
        "config/runs/x.yaml:4: training.generation_num_beams: is set by the workflow: predict_with_generate goes by the "
        "run's section `generation:`: set generation.num_beams",
    ),
    "seq2seq on text": (
        written(
            "config/runs/x.yaml", "base: tiny\ndataset: text\ntrainer: seq2seq\ntraining: {global_batch_size: 16}\n"
        ),
        "config/runs/x.yaml:2: dataset: trainer seq2seq learns from seq2seq or chat rows (source and target), and text "
        "has text rows; choose another dataset or trainer",
    ),
    "perplexity of sources and targets": (
        lambda workplace: (
            workplace.write("config/datasets/pairs.yaml", SOURCES_AND_TARGETS),
            workplace.write(
                "config/runs/dpo.yaml", "base: tiny\ndataset: pairs\nevaluation: {metrics: [perplexity]}\n"
            ),
        ),
        "config/runs/dpo.yaml:3: evaluation: perplexity is measured on text or chat rows, and pairs has seq2seq rows; "
        "name another",
    ),
    "generation without dataset": (
        written("config/runs/x.yaml", "base: tiny\ngeneration: {}\n"),
        "config/runs/x.yaml:2: generation: has no prompts; give generation.dataset or dataset",
    ),
    "generation without checkpoint": (
        written("config/runs/x.yaml", "dataset: chats\ngeneration: {}\n"),
        "config/runs/x.yaml: base: this key is missing; give it: model in config/models/, or another run: its checkpoint",
    ),
    "perplexity of pairs": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[exact_match, perplexity]"),
        "config/runs/dpo.yaml:9: evaluation: perplexity is measured on text or chat rows, and pairs has preference rows; "
        "name another",
    ),
    "unknown metric": (
        changed("config/runs/sft.yaml", "[exact_match]", "[exact_mach]"),
        "config/runs/sft.yaml:8: evaluation.metrics[0]: there is no metric exact_mach here; did you mean exact_match? "
        "(your own: module:function)",
    ),
    "metric given twice": (
        changed("config/runs/sft.yaml", "[exact_match]", "[exact_match, rouge, exact_match]"),
        "config/runs/sft.yaml:8: evaluation.metrics[2]: exact_match is given twice; keep one",
    ),
    "own metric that is no module:function": (
        changed("config/runs/sft.yaml", "[exact_match]", '["my_rows.py:shorten"]'),
        "config/runs/sft.yaml:8: evaluation.metrics[0]: there is no scripts/my_rows/py.py or my_rows/py.py "
        "for the module my_rows.py; write it or mend the name",
    ),
    "own metric without function": (
        changed("config/runs/sft.yaml", "[exact_match]", '["my_rows:"]'),
        "config/runs/sft.yaml:8: evaluation.metrics[0]: 'my_rows:' must look like module:function, e.g. "
        "my_metrics:politeness",
    ),
    "own metric whose function is missing": (
        changed("config/runs/sft.yaml", "[exact_match]", '["my_rows:shortn"]'),
        "config/runs/sft.yaml:8: evaluation.metrics[0]: my_rows.py has no function shortn; did you mean shorten?",
    ),
    "preference without pairs": (
        changed("config/runs/sft.yaml", "[exact_match]", "[preference]"),
        "config/runs/sft.yaml:8: evaluation: preference is measured on pairs, and both has chat rows; let "
        "evaluation.preference_dataset name a dataset with prompt, chosen and rejected",
    ),
    "pairs from a dataset that is missing": (
        changed("config/runs/sft.yaml", "[exact_match]", "[preference], preference_dataset: pears"),
        "config/runs/sft.yaml:8: evaluation.preference_dataset: there is no config/datasets/pears.yaml; did you mean "
        "pairs?",
    ),
    "beta without preference": (
        changed("config/runs/sft.yaml", "[exact_match]", "[exact_match], beta: 0.2"),
        "config/runs/sft.yaml:8: evaluation.beta: has no effect without preference in metrics; add that or delete it",
    ),
    "base of a run that trains nothing": (
        written(
            "config/runs/x.yaml",
            "base: tiny\ndataset: chats\ngeneration: {}\nevaluation: {metrics: [exact_match], base: true}\n",
        ),
        "config/runs/x.yaml:4: evaluation.base: has no effect without `trainer:`, since the base itself is scored; "
        "delete it",
    ),
    "base of preferences alone": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[preference], base: true"),
        "config/runs/dpo.yaml:9: evaluation.base: has no effect: preference measures against the base already; add "
        "another metric or delete it",
    ),
    "unknown opponent": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[exact_match], against: [stf], win_by: rouge"),
        "config/runs/dpo.yaml:9: evaluation.against[0]: there is no run stf; did you mean sft?",
    ),
    "opponent without answers": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[exact_match], against: [pretrain], win_by: rouge"),
        "config/runs/dpo.yaml:9: evaluation.against[0]: the run pretrain has no `generation:`, and its answers are "
        "needed; add that to its file",
    ),
    "opponent that answers other prompts": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[exact_match], against: [sft], win_by: rouge"),
        "config/runs/dpo.yaml:9: evaluation.against[0]: sft answers the prompts of both, and this run those of chats; "
        "let both answer the same",
    ),
    "opponent that answers fewer prompts": (
        written(
            "config/runs/x.yaml",
            "base: sft\ndataset: both\ngeneration: {limit: 8}\n"
            "evaluation: {metrics: [rouge], against: [sft], win_by: rouge}\n",
        ),
        "config/runs/x.yaml:4: evaluation.against[0]: sft answers the prompts of both, and this run those of both (the "
        "first 8); let both answer the same",
    ),
    "the run itself as opponent": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[exact_match], against: [dpo], win_by: rouge"),
        "config/runs/dpo.yaml:9: evaluation.against[0]: dpo is this run itself; name another or delete it",
    ),
    "opponent without a rule": (
        changed("config/runs/dpo.yaml", "[exact_match]", "[exact_match], against: [sft]"),
        "config/runs/dpo.yaml:9: evaluation.win_by: is missing; say what decides who wins: exact_match, numeric_match, "
        "math_verify, rouge or module:function",
    ),
    "tasks in a folder that is missing": (
        written("config/runs/x.yaml", "base: tiny\nlm_eval: {include_path: config/task, tasks: [finds]}\n"),
        "config/runs/x.yaml:2: lm_eval.include_path: there is no config/task (paths are relative to the repository's "
        "root); put it there or mend it",
    ),
    "task that the harness lacks": (
        written("config/runs/x.yaml", "base: tiny\nlm_eval: {tasks: [hellaswg], datasets: [x]}\n"),
        "config/runs/x.yaml:2: lm_eval.tasks: there is no hellaswg among the tasks of the harness 0.4.13 that are known "
        "here: did you mean hellaswag?",
    ),
    "standard task without rows": (
        written("config/runs/x.yaml", "base: tiny\nlm_eval: {tasks: [gsm8k]}\n"),
        "config/runs/x.yaml:2: lm_eval.datasets: is missing; name the files in config/datasets/ that bring the rows of "
        "the tasks",
    ),
    "standard task whose rows no dataset brings": (
        lambda workplace: (
            workplace.write("config/datasets/raw.yaml", "source: {hub: allenai/ai2_arc, config: ARC-Challenge}\n"),
            workplace.write("config/runs/x.yaml", "base: tiny\nlm_eval: {tasks: [arc_easy], datasets: [raw]}\n"),
        ),
        "config/runs/x.yaml:2: lm_eval.datasets: none of them brings allenai/ai2_arc (configuration ARC-Easy), which "
        "arc_easy reads; name a file of config/datasets/ with `source: {hub: allenai/ai2_arc, config: ARC-Easy, "
        "revision: …}`",
    ),
    "base that was asked other questions": (
        lambda workplace: (
            workplace.write("config/task/finds.yaml", "task: finds"),
            workplace.write(
                "config/runs/x.yaml", "base: tiny\nlm_eval: {include_path: config/task, tasks: [finds], limit: 9}\n"
            ),
            workplace.change("config/runs/sft.yaml", "base: pretrain", "base: x"),
            workplace.change(
                "config/runs/sft.yaml",
                "evaluation: {metrics: [exact_match]}",
                "lm_eval: {include_path: config/task, tasks: [finds], base: true}",
            ),
        ),
        "config/runs/sft.yaml:8: lm_eval.base: needs a base that is a run with the same tasks and settings in its "
        "`lm_eval:`, which scores it once for all runs on it; give x that section, or name a run of it without "
        "`trainer:`",
    ),
    "raw rows that are trained on": (
        lambda workplace: (
            workplace.write("config/datasets/raw.yaml", "source: {hub: allenai/ai2_arc, config: ARC-Easy}\n"),
            workplace.change("config/runs/sft.yaml", "dataset: both", "dataset: raw"),
        ),
        "config/runs/sft.yaml:2: dataset: raw has no `processing:`, so its rows stay raw, for `lm_eval:` alone; name "
        "another, or give it `tokenizer:` and `processing:`",
    ),
    "ifeval without nltk's data": (
        written("config/runs/x.yaml", "base: tiny\nlm_eval: {tasks: [ifeval], datasets: [x]}\n"),
        "config/runs/x.yaml:2: lm_eval.nltk_data: is missing: ifeval splits sentences by nltk's punkt_tab, which stages "
        "do not fetch; put it into the project by `python -m nltk.downloader -d config/nltk_data punkt_tab`, and name "
        "that folder",
    ),
    "run that does nothing": (
        written("config/runs/x.yaml", "base: tiny\n"),
        "config/runs/x.yaml: trainer: this run does nothing; give trainer, generation, evaluation or lm_eval",
    ),
    "training without trainer": (
        changed("config/runs/sft.yaml", "trainer: sft\n", ""),
        "config/runs/sft.yaml:3: training: has no effect without `trainer:`; give a trainer or delete it",
    ),
    "quantized weights without adapter": (
        changed("config/runs/sft.yaml", "base: pretrain\n", "base: pretrain\nquantization: {load_in_4bit: true}\n"),
        "config/runs/sft.yaml:2: quantization: quantized weights cannot be trained; add `peft:` or delete it",
    ),
    "neither source nor init": (
        written("config/models/x.yaml", "tokenizer: {pad_token: <pad>}\n"),
        "config/models/x.yaml: source: give exactly one of source and init; neither is there",
    ),
    "two places": (
        changed("config/models/big.yaml", "hub: owner/big", "hub: owner/big, path: data"),
        "config/models/big.yaml:1: source: give exactly one of hub, s3, path; found hub and path",
    ),
    "generator without rows": (
        written(
            "config/datasets/x.yaml",
            "tokenizer: tiny\nsource: {generator: demo, part: text}\n"
            "processing: {processing_function: plain_text_processing_function, max_length: 16}\n",
        ),
        "config/datasets/x.yaml:2: source.rows: is missing; a generator needs part and rows",
    ),
    "unknown part of a generator": (
        written(
            "config/datasets/x.yaml",
            "tokenizer: tiny\nsource: {generator: demo, part: chat, rows: 9}\n"
            "processing: {processing_function: dummy_processing_function, max_length: 16}\n",
        ),
        "config/datasets/x.yaml:2: source.part: the demo generator has no part chat; did you mean chats?",
    ),
    "dataset without processing": (
        written("config/datasets/x.yaml", "tokenizer: tiny\nsource: {generator: demo, part: text, rows: 9}\n"),
        "config/datasets/x.yaml: processing: this section is missing; a dataset has source and processing, or mixture",
    ),
    "unknown processing function": (
        changed("config/datasets/chats.yaml", "dummy_processing", "dumy_processing"),
        "config/datasets/chats.yaml:3: processing.processing_function: dumy_processing_function is not built in; did you "
        "mean dummy_processing_function? (your own: module:function)",
    ),
    # other files
    "missing DeepSpeed file": (
        changed("config/runs/pretrain.yaml", "zero2", "zero5"),
        "config/runs/pretrain.yaml:4: deepspeed: there is no config/deepspeed/zero5.json; did you mean zero2?",
    ),
    "DeepSpeed file that is no JSON": (
        written("config/deepspeed/zero2.json", '{"a": }'),
        "config/runs/pretrain.yaml:4: deepspeed: config/deepspeed/zero2.json is not valid JSON: Expecting value: line 1 "
        "column 7 (char 6)",
    ),
    "DeepSpeed file that fixes the batch": (
        written("config/deepspeed/zero2.json", '{"train_batch_size": 8}'),
        "config/runs/pretrain.yaml:4: deepspeed: config/deepspeed/zero2.json fixes train_batch_size, set by `training:`; "
        'write "auto" there',
    ),
    "missing chat template": (
        changed("config/models/tiny.yaml", "plain.jinja", "plan.jinja"),
        "config/models/tiny.yaml:1: tokenizer.chat_template: there is no config/chat_templates/plan.jinja (paths are "
        "relative to the repository's root); put it there or mend it",
    ),
    "chat template that is a folder": (
        changed("config/models/tiny.yaml", "config/chat_templates/plain.jinja", "config/chat_templates"),
        "config/models/tiny.yaml:1: tokenizer.chat_template: config/chat_templates is no file; name a Jinja template's",
    ),
    "chat template of random bytes": (
        lambda workplace: (workplace.root / "config/chat_templates/plain.jinja").write_bytes(b"\x89\xff\x00{{"),
        "config/models/tiny.yaml:1: tokenizer.chat_template: config/chat_templates/plain.jinja is not UTF-8 text; name a "
        "Jinja template, or save it with that encoding",
    ),
    "chat template that does not parse": (
        written("config/chat_templates/plain.jinja", "{% generation %}\n{% break %}\n{{ messages }\n"),
        "config/models/tiny.yaml:1: tokenizer.chat_template: config/chat_templates/plain.jinja:3 is not valid Jinja: "
        "unexpected '}'; mend it",
    ),
    "chat template with a filter that does not exist": (
        written("config/chat_templates/plain.jinja", "{{ messages | nofilter }}"),
        "config/models/tiny.yaml:1: tokenizer.chat_template: config/chat_templates/plain.jinja:1 is not valid Jinja: No "
        "filter named 'nofilter'.; mend it",
    ),
    "local data that DVC has": (
        lambda workplace: (workplace.root / "data/mine.jsonl").rename(workplace.root / "data/mine.jsonl.dvc"),
        "config/datasets/more-chats.yaml:2: source.path: there is no data/mine.jsonl (paths are relative to the "
        "repository's root); `make pull` brings what data/mine.jsonl.dvc names",
    ),
    "missing local data": (
        changed("config/datasets/more-chats.yaml", "data/mine", "data/yours"),
        "config/datasets/more-chats.yaml:2: source.path: there is no data/yours.jsonl (paths are relative to the "
        "repository's root); put it there or mend it; whoever has it shares it by `git add data/yours.jsonl`, or of a large one "
        "`dvc add data/yours.jsonl`, `git add data/yours.jsonl.dvc` and `dvc push`",
    ),
    "missing user module": (
        changed("config/datasets/more-chats.yaml", "my_rows", "my_row"),
        "config/datasets/more-chats.yaml:3: processing.processing_function: there is no scripts/my_row.py or my_row.py for "
        "the module my_row; write it or mend the name",
    ),
    "missing user function": (
        changed("config/datasets/more-chats.yaml", "shorten", "shortn"),
        "config/datasets/more-chats.yaml:3: processing.processing_function: my_rows.py has no function shortn; did you "
        "mean shorten?",
    ),
    "user module that is no Python": (
        written("my_rows.py", "\ndef shorten(:\n"),
        "config/datasets/more-chats.yaml:3: processing.processing_function: my_rows.py:2: is not valid Python: invalid "
        "syntax",
    ),
    # keys of training that change what others promise, or nothing
    "optimizer that ZeRO changes": (
        changed("config/runs/pretrain.yaml", "learning_rate: 1e-3", "optim: adafactor"),
        "config/runs/pretrain.yaml:7: training.optim: adafactor looks at the shapes of weights, and ZeRO-2 hands it flat "
        "pieces of them, so it would be another optimizer, which depends on the number of ranks; use an AdamW, deepspeed: "
        "zero0, or no deepspeed",
    ),
    "reference whose biases are trained": (
        changed("config/runs/dpo.yaml", "base: sft\n", "base: sft\npeft: {bias: all}\n"),
        "config/runs/dpo.yaml:2: peft.bias: all cannot be used with trainer: dpo, whose reference is the base with the "
        "adapter switched off, because trained biases stay on; set bias: none, or training.reference: scores",
    ),
    "an adapter on DoRA": (
        lambda workplace: (
            workplace.change(
                "config/runs/sft.yaml", "base: pretrain", "base: pretrain\npeft: {use_dora: true, merge: false}"
            ),
            workplace.change("config/runs/dpo.yaml", "base: sft", "base: sft\npeft: {merge: false}"),
        ),
        "config/runs/dpo.yaml:2: peft: sft has use_dora, which is no sum of matrices, so no one adapter holds it and "
        "another; set peft.merge: true here or in sft",
    ),
    "an adapter of what was trained whole": (
        lambda workplace: (
            workplace.change(
                "config/runs/sft.yaml",
                "base: pretrain",
                "base: pretrain\npeft: {modules_to_save: [up_proj], target_modules: q_proj, merge: false}",
            ),
            workplace.change(
                "config/runs/dpo.yaml", "base: sft", "base: sft\npeft: {target_modules: up_proj, merge: false}"
            ),
        ),
        "config/runs/dpo.yaml:2: peft: up_proj is trained whole here or in what the run stands on, and by an adapter in the "
        "other, which no one adapter holds; set peft.merge: true here or in sft",
    ),
    "reference that follows the model": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "[sigmoid]\n  sync_ref_model: true"),
        "config/runs/dpo.yaml:8: training.sync_ref_model: is not available: the reference that follows the model is in no "
        "checkpoint, so a training that is resumed would go on with another one; delete it",
    ),
    "smoothing that a loss does not know": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "[sigmoid, ipo]\n  label_smoothing: 0.1"),
        "config/runs/dpo.yaml:8: training.label_smoothing: has no effect with loss_type sigmoid, ipo, only with robust, "
        "exo_pair, aot, aot_unpaired; choose one of these (robust is conservative DPO) or delete it",
    ),
    "smoothing of labels that are no labels": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "[sigmoid]\n  label_smoothing_factor: 0.5"),
        "config/runs/dpo.yaml:8: training.label_smoothing_factor: has no effect with trainer: dpo; delete it",
    ),
    "loss without the smoothing that it needs": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "[exo_pair]"),
        "config/runs/dpo.yaml:4: training.label_smoothing: must be above 0 for loss_type exo_pair; its authors recommend "
        "0.001",
    ),
    "key without the one that it belongs to": (
        changed("config/runs/dpo.yaml", "[sigmoid]", "[sigmoid]\n  discopop_tau: 0.1"),
        "config/runs/dpo.yaml:8: training.discopop_tau: has no effect without loss_type: discopop; add that or delete it",
    ),
    "adapter of the output layer that TRL passes by": (
        changed("config/runs/sft.yaml", "base: pretrain\n", "base: pretrain\npeft: {target_modules: [lm_head]}\n"),
        "config/runs/sft.yaml:2: peft.target_modules: lm_head cannot have an adapter with trainer: sft, whose "
        "log-probabilities are computed past it; delete it, or put lm_head into modules_to_save",
    ),
    "checkpointing that data parallelism cannot follow": (
        changed(
            "config/runs/sft.yaml",
            "learning_rate: 1e-4",
            "gradient_checkpointing_kwargs: {use_reentrant: true}\n  gradient_checkpointing: true\npeft: {r: 4}",
        ),
        "config/runs/sft.yaml:6: training.gradient_checkpointing_kwargs: use_reentrant: true cannot be used with an adapter "
        "and without deepspeed, because weights would be marked ready twice; delete it",
    ),
    "weights rounded by measuring": (
        changed("config/runs/sft.yaml", "learning_rate: 1e-4", "bf16_full_eval: true"),
        "config/runs/sft.yaml:6: training.bf16_full_eval: is set by the workflow: held-out rows are measured in the "
        "training's own precision, because a model that is cast to be measured would be saved rounded; delete it, or set "
        "bf16: true",
    ),
    "no epoch": (
        changed("config/runs/sft.yaml", "learning_rate: 1e-4", "num_train_epochs: 0"),
        "config/runs/sft.yaml:6: training.num_train_epochs: expected more than 0, found 0",
    ),
    "no step": (
        changed("config/runs/sft.yaml", "learning_rate: 1e-4", "max_steps: 0"),
        "config/runs/sft.yaml:6: training.max_steps: expected at least 1, found 0",
    ),
    "schedule without what it needs": (
        changed("config/runs/sft.yaml", "learning_rate: 1e-4", "lr_scheduler_type: cosine_with_min_lr"),
        "config/runs/sft.yaml:6: training.lr_scheduler_type: cosine_with_min_lr needs lr_scheduler_kwargs with min_lr or "
        "min_lr_rate; add one",
    ),
    "misspelt key of a schedule": (
        changed(
            "config/runs/sft.yaml",
            "learning_rate: 1e-4",
            "lr_scheduler_type: polynomial\n  lr_scheduler_kwargs: {lr_ent: 0}",
        ),
        "config/runs/sft.yaml:7: training.lr_scheduler_kwargs.lr_ent: polynomial has no such key; did you mean lr_end?",
    ),
    "model type with a tokenizer of its own": (
        changed("config/models/tiny.yaml", "llama", "qwen2"),
        "config/models/tiny.yaml:2: init.model_type: has a tokenizer class of its own in transformers, which reads a "
        "tokenizer that is trained here with other ids; use another type, such as qwen3 or llama",
    ),
}


@pytest.mark.parametrize("name", ONE_MISTAKE)
def test_one_mistake_gives_one_sentence(workplace, name: str):
    spoil, message = ONE_MISTAKE[name]
    spoil(workplace)
    assert workplace.mistakes() == [message]


def test_what_may_not_be_read_is_told(workplace, monkeypatch: pytest.MonkeyPatch):
    """Tests run as root, who may read everything, so the system's refusal is put in its place."""

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(files, "read_bytes", refuse)
    assert "config/runs/sft.yaml: cannot be read (Permission denied); mend or remove it" in workplace.mistakes()
    monkeypatch.setattr(files.os, "listdir", refuse)
    assert "config/runs: cannot be read (Permission denied); give the permission" in workplace.mistakes()


def test_all_mistakes_of_all_files_come_at_once(workplace):
    workplace.change("config/runs/pretrain.yaml", "global_batch_size: 64", 'global_batch_size: "64"\n  fp16: maybe')
    workplace.change("config/runs/pretrain.yaml", "base: tiny", "base: tny")
    workplace.change("config/runs/dpo.yaml", "dataset: pairs", "dataset: chats\nfoo: 1")
    workplace.change("config/datasets/both.yaml", "chats: 0.7", "chats: many")
    workplace.change("config/models/tiny.yaml", "plain.jinja", "plan.jinja")
    workplace.write("config/runs/broken.yaml", "a: [")
    places = [mistake.split(": ")[:2] for mistake in workplace.mistakes()]
    assert places == [
        ["config/datasets/both.yaml:4", "mixture.datasets.chats"],
        ["config/models/tiny.yaml:1", "tokenizer.chat_template"],
        ["config/runs/broken.yaml:1", "is not valid YAML"],
        ["config/runs/dpo.yaml:2", "dataset"],
        ["config/runs/dpo.yaml:3", "foo"],
        ["config/runs/pretrain.yaml:1", "base"],
        ["config/runs/pretrain.yaml:6", "training.global_batch_size"],
        ["config/runs/pretrain.yaml:7", "training.fp16"],
    ]


def test_all_mistakes_of_a_comparison_come_at_once(workplace):
    section = '[rouge, "nowhere:score"], base: true, against: [stf, pretrain, sft], win_by: "my_rows:shorten"'
    workplace.change("config/runs/dpo.yaml", "[exact_match]", section)
    assert [mistake.split(": ")[1] for mistake in workplace.mistakes()] == [
        "evaluation.against[0]",
        "evaluation.against[1]",
        "evaluation.against[2]",
        "evaluation.metrics[1]",
    ]


def test_settings_that_leave_the_result_as_it_is_are_sent_to_their_place(workplace):
    keys = {"report_to": "wandb", "logging_steps": 5, "save_steps": 5, "save_total_limit": 2, "run_name": "x"}
    keys |= {"dataloader_num_workers": 2, "ddp_timeout": 60}
    lines = "".join(f"\n  {key}: {value}" for key, value in keys.items())
    workplace.change("config/runs/sft.yaml", "\n  learning_rate: 1e-4", lines)
    section = {key: "resources" if key.startswith("d") else "tracking" for key in keys}
    assert workplace.mistakes() == [
        f"config/runs/sft.yaml:{line}: training.{key}: does not change the result, so it belongs to `{section[key]}:`; "
        f"move it there as {section[key]}.{key}"
        for line, key in enumerate(keys, 6)
    ]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("output_dir", "the rule gives the paths; delete it"),
        ("deepspeed", "name a file of config/deepspeed/ with `deepspeed:` at the top of the run"),
        (
            "gradient_accumulation_steps",
            "it follows from global_batch_size, per_device_train_batch_size and the hardware; set global_batch_size",
        ),
        ("disable_tqdm", "progress is printed as plain lines, as often as tracking.logging_steps says; delete it"),
        (
            "max_length",
            "the rows come tokenized and masked from the processed dataset: set processing.max_length in the dataset's "
            "file",
        ),
        ("eval_packing", "held-out rows are measured one by one; delete it"),
        ("resume_from_checkpoint", "an interrupted stage resumes by itself from its own checkpoints; delete it"),
    ],
)
def test_settings_that_the_workflow_makes_say_who_makes_them(workplace, key: str, reason: str):
    workplace.change("config/runs/sft.yaml", "learning_rate: 1e-4", f"{key}: 1")
    assert workplace.mistakes() == [f"config/runs/sft.yaml:6: training.{key}: is set by the workflow: {reason}"]


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("warmup_ratio", "use warmup_steps, where a number below 1 is a share of all steps"),
        ("evaluation_strategy", "use eval_strategy"),
        ("per_gpu_train_batch_size", "use per_device_train_batch_size"),
        ("group_by_length", "use train_sampling_strategy: group_by_length"),
        ("no_cuda", "the launcher finds the hardware; delete it"),
    ],
)
def test_names_of_older_versions_say_the_new_one(workplace, key: str, remedy: str):
    workplace.change("config/runs/sft.yaml", "learning_rate: 1e-4", f"{key}: 1")
    message = f"config/runs/sft.yaml:6: training.{key}: is no key of the pinned version any more: {remedy}"
    assert workplace.mistakes() == [message]


def test_mistakes_in_the_choice_of_a_state(workplace):
    """What decides nothing, what the trainer never measures, what nothing is held out for: each at its key."""
    file = "config/runs/sft.yaml"
    was = "learning_rate: 1e-4"

    def said(*keys):
        text = (workplace.root / file).read_text()
        workplace.change(file, was, "\n  ".join(keys))
        found = [mistake.removeprefix(f"{file}:") for mistake in workplace.mistakes()]
        workplace.write(file, text)
        return found

    none_held_out = (
        "6: training.load_best_model_at_end: compares measurements of held-out rows, and both has none; set "
        "processing.test_rows or test_fraction in its file, of a mixture in those of its parts, or delete the key"
    )
    best, steps = "load_best_model_at_end: true", "eval_strategy: steps"
    assert said(best, steps) == [none_held_out]
    workplace.change("config/datasets/chats.yaml", "max_length: 128", "max_length: 128, test_rows: 9")
    text = (workplace.root / file).read_text()
    workplace.change(file, was, f"{best}\n  early_stopping_patience: 2\n  eval_strategy: epoch")
    assert workplace.load().runs["sft"].training.best_metric == "loss"
    workplace.write(file, text)
    assert said(best) == [
        "6: training.load_best_model_at_end: compares measurements of held-out rows; set eval_strategy: steps with "
        "eval_steps, or epoch"
    ]
    assert said("metric_for_best_model: loss", "early_stopping_threshold: 0.1") == [
        "6: training.metric_for_best_model: has no effect without load_best_model_at_end: true or "
        "early_stopping_patience; add one or delete it",
        "7: training.early_stopping_threshold: has no effect without early_stopping_patience; add that or delete it",
    ]
    assert said(best, steps, "metric_for_best_model: eval_perplexitty") == [
        "8: training.metric_for_best_model: perplexitty is never measured by trainer: sft; did you mean perplexity?"
    ]
    assert said(best, steps, "lr_scheduler_type: greedy", "metric_for_best_model: perplexity") == [
        "9: training.metric_for_best_model: cannot be another than loss beside lr_scheduler_type: greedy, which follows "
        "the held-out loss; delete one of the two"
    ]
    workplace.change(file, "trainer: sft", "trainer: seq2seq")
    assert said(best, steps, "metric_for_best_model: exact_match") == [
        "8: training.metric_for_best_model: exact_match is not measured without predict_with_generate: true; add that"
    ]


def test_keys_that_cancel_each_other(workplace):
    keys = "max_steps: 10\n  num_train_epochs: 2\n  eval_steps: 5\n  bf16: true\n  fp16: true"
    workplace.change("config/runs/sft.yaml", "learning_rate: 1e-4", keys)
    assert workplace.mistakes() == [
        "config/runs/sft.yaml:7: training.num_train_epochs: has no effect beside max_steps, which ends the training; "
        "delete one of them",
        "config/runs/sft.yaml:8: training.eval_steps: has no effect without eval_strategy: steps; add that or delete it",
        "config/runs/sft.yaml:10: training.fp16: cannot be true beside bf16; delete one of them",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("base: hf_abcdefghijklmnopqrstuvwxyz", "config/runs/x.yaml:1: base: "),
        ("base: AKIA" + "IOSFODNN7EXAMPLE", "config/runs/x.yaml:1: base: "),
        (
            "base: tiny\nwandb_api_key: 0123456789abcdef0123456789abcdef01234567",
            "config/runs/x.yaml:2: wandb_api_key: ",
        ),
        (
            "base: tiny\ntracking: {run_name: [hf_abcdefghijklmnopqrstuvwxyz]}",
            "config/runs/x.yaml:2: tracking.run_name[0]: ",
        ),
    ],
)
def test_credentials_are_refused_and_never_shown(workplace, text: str, place: str):
    workplace.write("config/runs/x.yaml", text)
    mistakes = workplace.mistakes()
    assert f"{place}{CREDENTIAL}" in mistakes
    for secret in ("hf_abc", "AKIA", "0123456789abcdef"):
        assert not any(secret in mistake for mistake in mistakes)


def test_a_revision_that_is_not_pinned_is_a_warning_where_an_enabled_run_needs_it(workplace):
    workplace.change("config/models/big.yaml", "0123456789abcdef0123456789abcdef01234567", "main")
    warning = f"config/models/big.yaml:1: source.revision: revision main can change under you; {CAN_CHANGE} owner/big"
    project = workplace.load()
    assert (project.warnings, list(map(str, project.dormant_warnings))) == ([], [warning])

    function = "dummy_processing_function"
    text = f"tokenizer: big\nsource: {{hub: a/b}}\nprocessing: {{processing_function: {function}, max_length: 8}}\n"
    workplace.write("config/datasets/hub.yaml", text)
    workplace.write("config/runs/x.yaml", "base: big\ndataset: hub\ngeneration: {}\n")
    project = workplace.load()
    assert list(map(str, project.warnings)) == [
        f"config/datasets/hub.yaml:2: source.hub: without a revision it can change under you; {CAN_CHANGE} a/b",
        warning,
    ]
    assert project.dormant_warnings == []


def test_an_instance_type_that_is_not_known_is_a_warning(workplace):
    workplace.change("config/runs/dpo.yaml", "base: sft", "base: sft\nresources: {instance_type: ml.z9.48xlarge}")
    assert list(map(str, workplace.load().warnings)) == [
        "config/runs/dpo.yaml:2: resources.instance_type: the number of GPUs of ml.z9.48xlarge is not known here, so "
        "global_batch_size is checked only when training starts"
    ]


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ("instance_type: ml.p4d.24xlarge, instance_count: 2", True),
        ("instance_type: ml.p5en.48xlarge, instance_count: 4", True),
        ("instance_type: ml.p4d.24xlarge, instance_count: 2, efa: true", False),
        ("instance_type: ml.p4d.24xlarge, instance_count: 1", False),
        ("instance_type: ml.g5.48xlarge, instance_count: 2", False),
    ],
)
def test_several_big_machines_without_their_network_are_a_warning(workplace, resources, told):
    workplace.change("config/runs/dpo.yaml", "base: sft", f"base: sft\nresources: {{{resources}}}")
    workplace.change("config/runs/dpo.yaml", "global_batch_size: 64", "global_batch_size: 256")
    text = (workplace.root / "config/runs/dpo.yaml").read_text()
    assert told == any("without `efa: true` talk over TCP" in str(warning) for warning in workplace.load().warnings), (
        text
    )


def test_a_disabled_run_is_checked_too(workplace):
    workplace.change("config/runs/dpo.yaml", "base: sft", "enabled: false\nbase: nobody")
    assert workplace.mistakes()[0].startswith(
        "config/runs/dpo.yaml:2: base: there is no model and no run nobody; known: big, dpo"
    )


@pytest.mark.parametrize(
    ("break_it", "left"),
    [
        (changed("config/runs/dpo.yaml", "trainer: dpo", "trainer: dbo"), {"pretrain", "sft"}),
        (changed("config/datasets/pairs.yaml", "tokenizer: tiny", "tokenizer: teeny"), {"pretrain", "sft"}),
        (changed("config/datasets/chats.yaml", "rows: 100", "rows: many"), {"pretrain"}),  # sft mixes it, dpo stands on sft
        (lambda workplace: (workplace.root / "data/mine.jsonl").unlink(), {"pretrain"}),
        (changed("config/models/tiny.yaml", "vocab_size: 512", "vocab_size: -1"), set()),
        (written("config/runs/more.yml", "base: tiny\n"), {"pretrain", "sft", "dpo"}),
        (written("config/models/sft.yaml", "source: {hub: owner/sft, revision: main}\n"), {"pretrain"}),
    ],
)  # fmt: skip
def test_what_stands_on_no_broken_file_can_be_used(workplace, break_it, left):
    break_it(workplace)
    said = workplace.mistakes()
    project = load_project(workplace.root, None, strict=False)
    assert project.runs.keys() == left
    assert [str(mistake) for mistake in project.mistakes] == said
    assert project.broken_runs == {"pretrain", "sft", "dpo"} - left | {"more"} & {
        path.stem for path in workplace.root.glob("config/runs/*")
    }
    assert all(stage.subject not in project.broken_runs for stage in build_graph(project).stages.values())


def named_index(workplace):
    (workplace.root / "config/runs/dpo.yaml").rename(workplace.root / "config/runs/index.yaml")


@pytest.mark.parametrize(
    ("break_it", "left", "said"),
    [
        (named_index, {"pretrain", "sft"}, "index.yaml: reports/index.html is the page of all runs: give the run another name"),
        (
            changed("config/datasets/more-chats.yaml", "data/mine.jsonl", "generations/sft"),
            {"pretrain"},
            "sft.yaml: generate-sft → train-sft → process-both → process-more-chats → generate-sft: what a stage makes "
            "is its own input: look at `base:`, `reward_model:` and `source.path:`",
        ),
    ],
)  # fmt: skip
def test_a_run_without_a_possible_graph_stops_no_other(workplace, monkeypatch, break_it, left, said):
    (workplace.root / "generations/sft").mkdir(parents=True)
    break_it(workplace)
    monkeypatch.chdir(workplace.root)
    project, graph = load_graph(strict=False)
    assert project.runs.keys() == left == {name for name in project.runs if f"train-{name}" in graph.stages}
    assert str(graph.mistakes[-1]) == f"config/runs/{said}"
    with pytest.raises(ConfigErrors) as stopped:
        load_graph()
    assert stopped.value.mistakes == list(graph.mistakes)


def test_folders_beside_ones_own_are_read_as_the_project_says(workplace):
    workplace.write("config/demo/runs/more.yaml", "base: sft\ngeneration: {dataset: chats}\n")
    workplace.write("config/team-a/runs/theirs.yaml", "base: dpo\ngeneration: {dataset: chats}\n")
    own = {"pretrain", "sft", "dpo"}

    def runs(text: str | None) -> set[str]:
        if text is not None:
            workplace.write("config/project.yaml", text)
        return set(workplace.load().runs)

    assert runs(None) == own | {"more"}
    assert runs("# nothing said\n") == own | {"more"}
    assert runs("also_read: []\n") == own
    assert runs("also_read: [team-a]\n") == own | {"theirs"}
    assert workplace.load().runs["theirs"].path == "config/team-a/runs/theirs.yaml"
