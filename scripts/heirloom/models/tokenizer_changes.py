"""Give a tokenizer its special tokens and its chat template."""

from pathlib import Path

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from heirloom.config.parsing.template_syntax import read_template
from heirloom.config.sections.tokenizer import TokenizerSection
from heirloom.errors import HeirloomError

ROLES = ("pad_token", "bos_token", "eos_token", "unk_token", "mask_token")


def wrap_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Return a freshly trained tokenizer as transformers' kind. Encoding adds no special tokens by itself."""
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)


def special_tokens(section: TokenizerSection) -> list[str]:
    """Return the special tokens that `section` names, each once, in the order of their ids in a trained tokenizer."""
    by_role = [token for role in ROLES if (token := getattr(section, role))]
    return list(dict.fromkeys([*by_role, *section.additional_special_tokens]))


def adapt_tokenizer(tokenizer: PreTrainedTokenizerFast, section: TokenizerSection) -> None:
    """Set the special tokens and the chat template that `section` names; what it does not name stays.

    Raises HeirloomError when the chat template's file is none, or the tokenizer has no end token.
    """
    for role in ROLES:
        if token := getattr(section, role):
            tokenizer.add_special_tokens({role: token})
    if section.additional_special_tokens:
        tokenizer.add_special_tokens({"additional_special_tokens": section.additional_special_tokens})
    if section.chat_template:
        try:
            tokenizer.chat_template = read_template(Path(section.chat_template))
        except HeirloomError as error:
            raise HeirloomError(f"tokenizer.chat_template: {error}") from None
    if tokenizer.eos_token is None:
        raise HeirloomError("the tokenizer has no end token, so no answer would ever end: give tokenizer.eos_token")
