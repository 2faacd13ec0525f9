"""`processing:` how raw rows become token ids, masks and splits."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from heirloom.config.parsing.mistakes import did_you_mean
from heirloom.config.parsing.section import Section
from heirloom.config.sections.row_kinds import KIND_NAMES, Kind

# Functions of heirloom.data.rows.processing and the kind of rows that each makes.
PROCESSING_FUNCTIONS: dict[str, Kind] = {
    "plain_text_processing_function": "text",
    "seq2seq_processing_function": "seq2seq",
    "dummy_processing_function": "chat",
    "instruction_processing_function": "chat",
    "sharegpt_processing_function": "chat",
    "prompt_completion_processing_function": "chat",
    "dummy_rlhf_processing_function": "preference",
    "sharegpt_rlhf_processing_function": "preference",
    "labelled_processing_function": "labelled",
}


class TrainOnTemplates(Section):
    """Which tokens are trained on, by the texts that open the turns."""

    response_template: str = Field(
        description="text, or token ids with commas, that opens an assistant turn: training starts after it"
    )
    instruction_template: str | None = Field(
        None, description="text, or token ids with commas, that opens a user turn: training stops before it"
    )


class ProcessingSection(Section):
    """How raw rows become a processed dataset."""

    processing_function: str = Field(
        description="a function of heirloom.data.rows.processing, or your own as `module:function` (then give `kind`)"
    )
    kind: Kind | None = Field(None, description="rows that your own function makes; built-in functions know theirs")
    columns: dict[str, str] = Field(
        default_factory=dict, description="raw columns to rename before the function sees a row, {theirs: ours}"
    )
    dataset_text_field: str = Field(
        "text", description="plain_text_processing_function: raw column that holds the text"
    )
    max_length: int = Field(ge=1, description="longest row, tokens")
    max_target_length: int | None = Field(
        None, ge=1, description="seq2seq: longest target, tokens (max_length is the source's); absent: the same"
    )
    max_prompt_length: int | None = Field(
        None, ge=1, description="preference, labelled: longest prompt, tokens; longer ones lose their beginning"
    )
    truncation: bool = Field(True, description="cut rows longer than max_length; false: drop and count them")
    truncation_mode: Literal["keep_start", "keep_end"] = Field(
        "keep_start", description="which tokens of a row longer than max_length stay: its first ones or its last ones"
    )
    padding: bool = Field(False, description="pad every row to max_length; false: the collator pads each batch")
    packed: bool = Field(False, description="text: join documents by the end token, cut rows of max_length tokens")
    chat_template: str | None = Field(
        None,
        description="file of a Jinja chat template, e.g. config/chat_templates/x.jinja; absent: the tokenizer's",
    )
    add_generation_prompt: bool = Field(False, description="end a conversation with the opening of an assistant turn")
    train_on: Literal["assistant", "last_assistant", "all"] | TrainOnTemplates = Field(
        "assistant",
        description="chat: what is trained on: all assistant turns, the last one, everything, or by templates",
    )
    remove_columns: bool = Field(True, description="keep only the columns that training and scoring read")
    train_split: str = Field("train", description="raw split (file name without suffix) that is trained on")
    test_split: str | None = Field(
        None, description="raw split that is held out; absent: `test` where the raw dataset has one"
    )
    test_rows: int | None = Field(None, ge=1, description="rows to hold out, drawn by seed")
    test_fraction: float | None = Field(None, gt=0, lt=1, description="share of the rows to hold out, drawn by seed")
    seed: int = Field(0, description="seed of the split into train and test")
    bad_rows: float = Field(0.0, ge=0, le=1, description="largest share of unusable rows that is accepted")

    @property
    def rows_kind(self) -> Kind:
        """The kind of rows in the processed dataset."""
        return self.kind or PROCESSING_FUNCTIONS[self.processing_function]

    @property
    def holds_out(self) -> bool:
        """Whether the section itself says which rows are held out."""
        return (self.test_split, self.test_rows, self.test_fraction) != (None, None, None)

    @property
    def longest_target(self) -> int:
        """The most tokens that the target of a seq2seq row may have."""
        return self.max_length if self.max_target_length is None else self.max_target_length

    @property
    def user_function(self) -> tuple[str, str] | None:
        """Module and function of the user's own processing function."""
        module, colon, function = self.processing_function.partition(":")
        return (module, function) if colon else None

    def rules(self) -> Iterator[tuple[str, str]]:
        made = PROCESSING_FUNCTIONS.get(self.processing_function)
        if self.user_function is None and made is None:
            known = did_you_mean(self.processing_function, PROCESSING_FUNCTIONS)
            yield (
                "processing_function",
                f"{self.processing_function} is not built in; {known} (your own: module:function)",
            )
        if made is not None and self.kind is not None:
            yield "kind", f"is for your own functions; {self.processing_function} makes {made}: delete it"
        if self.user_function is not None:
            if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.processing_function):
                yield "processing_function", "must look like module:function, e.g. my_processing:shorten"
            if self.kind is None:
                yield "kind", f"is missing; say which rows your function makes: {KIND_NAMES}"
        kind = self.kind or made
        if self.packed and kind not in ("text", None):
            yield "packed", f"is for text rows, and these are {kind}; delete it"
        for key, of in (("max_prompt_length", ("preference", "labelled")), ("max_target_length", ("seq2seq",))):
            if getattr(self, key) is not None and kind not in (*of, None):
                yield key, f"is for {' and '.join(of)} rows, and these are {kind}; delete it"
        yield from self.text_field_problems()
        names = list(self.columns.values())
        for name in {name for name in names if names.count(name) > 1}:
            yield "columns", f"would give several columns the name {name}; keep one of them"
        for key in self.keys_without_effect(kind):
            yield key, f"has no effect on {'packed ' if self.packed else ''}{kind} rows; delete it"
        if self.max_prompt_length is not None and self.max_prompt_length >= self.max_length:
            yield "max_prompt_length", "must be smaller than max_length, or no answer remains"
        held_out = [key for key in ("test_split", "test_rows", "test_fraction") if getattr(self, key) is not None]
        if len(held_out) > 1:
            yield held_out[-1], f"{' and '.join(held_out)} say the same thing twice; keep one"

    def text_field_problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with dataset_text_field."""
        if "dataset_text_field" not in self.model_fields_set:
            return
        if self.processing_function != "plain_text_processing_function":
            yield (
                "dataset_text_field",
                f"is for plain_text_processing_function, and {self.processing_function} reads columns of its own; "
                "delete it",
            )
        for theirs, ours in self.columns.items():
            if ours == "text":
                problem = f"and columns.{theirs} say the same thing twice: which column holds the text; keep one"
                yield "dataset_text_field", problem

    def keys_without_effect(self, kind: Kind | None) -> Iterator[str]:
        """Yield the keys that are given though rows of this kind know nothing of them."""
        unknown = {
            "text": ("chat_template", "add_generation_prompt"),
            "preference": ("padding", "train_on", "add_generation_prompt"),
            "labelled": ("padding", "train_on", "add_generation_prompt"),
            "seq2seq": ("padding", "train_on", "add_generation_prompt", "chat_template"),
        }
        yield from (key for key in unknown.get(kind or "", ()) if key in self.model_fields_set)
        if self.packed:
            yield from (key for key in ("padding", "truncation", "truncation_mode") if key in self.model_fields_set)
        of_chats = self.packed or self.train_on in ("assistant", "last_assistant")
        if kind == "text" and "train_on" in self.model_fields_set and of_chats:
            yield "train_on"
