"""`processing:` how raw rows become token ids, masks and splits."""

import re
from typing import Literal

from pydantic import Field, model_validator

from heirloom.config.mistakes import did_you_mean
from heirloom.config.section import Section, WrongKeyError

Kind = Literal["text", "chat", "preference"]

# Functions of heirloom.processing and the kind of rows that each makes.
PROCESSING_FUNCTIONS: dict[str, Kind] = {
    "plain_text_processing_function": "text",
    "dummy_processing_function": "chat",
    "instruction_processing_function": "chat",
    "sharegpt_processing_function": "chat",
    "dummy_rlhf_processing_function": "preference",
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
        description="a built-in function of heirloom.processing, or your own as `module:function` (then give `kind`)"
    )
    kind: Kind | None = Field(None, description="rows that your own function makes; built-in functions know theirs")
    max_length: int = Field(ge=1, description="longest row, tokens")
    max_prompt_length: int | None = Field(
        None, ge=1, description="preference: longest prompt, tokens; longer ones lose their beginning"
    )
    truncation: bool = Field(True, description="cut rows longer than max_length; false: drop and count them")
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
    test_split: str | None = Field(None, description="raw split that is held out, if it exists there")
    test_rows: int | None = Field(None, ge=1, description="rows to hold out, drawn by seed")
    test_fraction: float | None = Field(None, gt=0, lt=1, description="share of the rows to hold out, drawn by seed")
    seed: int = Field(0, description="seed of the split into train and test")
    bad_rows: float = Field(0.0, ge=0, le=1, description="largest share of unusable rows that is accepted")

    @property
    def rows_kind(self) -> Kind:
        """The kind of rows in the processed dataset."""
        return self.kind or PROCESSING_FUNCTIONS[self.processing_function]

    @property
    def user_function(self) -> tuple[str, str] | None:
        """Module and function of the user's own processing function."""
        module, colon, function = self.processing_function.partition(":")
        return (module, function) if colon else None

    @model_validator(mode="after")
    def _consistent(self):
        if self.user_function is None:
            made = PROCESSING_FUNCTIONS.get(self.processing_function)
            if made is None:
                raise WrongKeyError(
                    "processing_function",
                    f"there is no processing_function {self.processing_function}; "
                    f"{did_you_mean(self.processing_function, PROCESSING_FUNCTIONS)} (your own: module:function)",
                )
            if self.kind is not None:
                raise WrongKeyError("kind", f"is for your own functions; this one makes {made}: delete the key")
        else:
            if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.processing_function):
                raise WrongKeyError("processing_function", "must look like module:function, e.g. my_processing:shorten")
            if self.kind is None:
                raise WrongKeyError("kind", "is missing; say which rows your function makes: text, chat or preference")
        held_out = [key for key in ("test_split", "test_rows", "test_fraction") if getattr(self, key) is not None]
        if len(held_out) > 1:
            raise WrongKeyError(held_out[-1], f"{' and '.join(held_out)} say the same thing in two ways; keep one")
        if self.packed and self.rows_kind != "text":
            raise WrongKeyError("packed", f"is for text rows; here they are {self.rows_kind}: delete the key")
        if self.max_prompt_length is not None and self.rows_kind != "preference":
            raise WrongKeyError("max_prompt_length", f"is for preference, not {self.rows_kind}, rows: delete it")
        if self.max_prompt_length is not None and self.max_prompt_length >= self.max_length:
            raise WrongKeyError("max_prompt_length", "must be smaller than max_length, or no answer remains")
        return self
