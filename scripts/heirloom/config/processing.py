"""`processing:` how raw rows become token ids, masks and splits."""

import re
from typing import Literal

from pydantic import Field, model_validator

from heirloom.config.section import Section

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
    kind: Kind | None = Field(None, description="rows that your own processing function makes; built-in ones know theirs")
    max_length: int = Field(ge=1, description="longest row, tokens")
    max_prompt_length: int | None = Field(
        None, ge=1, description="preference: longest prompt, tokens; longer ones lose their beginning"
    )
    truncation: bool = Field(True, description="cut rows longer than max_length; false: drop and count them")
    padding: bool = Field(False, description="pad every row to max_length; false: the collator pads each batch")
    packed: bool = Field(False, description="text: join documents with the end token, cut into rows of max_length tokens")
    chat_template: str | None = Field(
        None, description="file of a Jinja chat template to use instead of the tokenizer's, e.g. config/chat_templates/x.jinja"
    )
    add_generation_prompt: bool = Field(False, description="end each conversation with the opening of an assistant turn")
    train_on: Literal["assistant", "last_assistant", "all"] | TrainOnTemplates = Field(
        "assistant", description="chat: tokens that are trained on: all assistant turns, the last, everything, or by templates"
    )
    remove_columns: bool = Field(True, description="keep only the columns that training and scoring read")
    train_split: str = Field("train", description="raw split (file name without suffix) that is trained on")
    test_split: str | None = Field(None, description="raw split that is held out; absent: made by test_rows or test_fraction")
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
        # imported here: difflib is needed for a mistake only
        if self.user_function is None:
            made = PROCESSING_FUNCTIONS.get(self.processing_function)
            if made is None:
                from heirloom.config.mistakes import did_you_mean

                raise ValueError(
                    f"there is no processing_function {self.processing_function}; "
                    f"{did_you_mean(self.processing_function, PROCESSING_FUNCTIONS)} (your own: module:function)"
                )
            if self.kind is not None:
                raise ValueError(f"kind is for your own functions; {self.processing_function} makes {made}: delete kind")
        else:
            if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", self.processing_function):
                raise ValueError("processing_function must look like module:function, e.g. my_processing:shorten")
            if self.kind is None:
                raise ValueError("kind is missing; say which rows your function makes: text, chat or preference")
        held_out = [key for key in ("test_split", "test_rows", "test_fraction") if getattr(self, key) is not None]
        if len(held_out) > 1:
            raise ValueError(f"{' and '.join(held_out)} say the same thing in two ways; keep one")
        if self.packed and self.rows_kind != "text":
            raise ValueError(f"packed is for text; the rows here are of kind {self.rows_kind}: delete packed")
        if self.max_prompt_length is not None and self.rows_kind != "preference":
            raise ValueError(f"max_prompt_length is for preference rows; here they are {self.rows_kind}: delete it")
        if self.max_prompt_length is not None and self.max_prompt_length >= self.max_length:
            raise ValueError("max_prompt_length must be smaller than max_length, or no answer remains")
        return self
