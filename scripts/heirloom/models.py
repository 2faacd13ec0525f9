"""Load a base model and its tokenizer for training."""

from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from heirloom import tokenizer_files
from heirloom.config.training import TrainingSection
from heirloom.errors import HeirloomError
from heirloom.vocabulary import check_vocabulary, read_vocabulary_size


def load_tokenizer(base: Path) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the base model; one without a pad token fills batches with its end token.

    Raises HeirloomError when the folder holds no model, or a tokenizer with ids that the model does not know.
    """
    known = read_vocabulary_size(base)
    tokenizer = tokenizer_files.load_tokenizer(base)
    check_vocabulary(len(tokenizer), known, tokenizer=base, model=base)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(base: Path, section: TrainingSection) -> PreTrainedModel:
    """Return the base model for training, in the type and with the attention that `section` asks for."""
    chosen = {"attn_implementation": section.attn_implementation} if section.attn_implementation else {}
    try:
        return AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=section.dtype, **chosen)
    except (ImportError, ValueError) as error:
        raise HeirloomError(f"{base}: cannot be loaded for training: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
