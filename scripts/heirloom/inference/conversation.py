"""A conversation with a model, its answers shown as they come."""

from collections.abc import Callable

from transformers import TextStreamer

from heirloom.errors import HeirloomError, plain
from heirloom.inference.answers import Answerer
from heirloom.inference.prompts import Prompt
from heirloom.inference.prompts_file import prompt_ids, prompt_text


class Shown(TextStreamer):
    """Prints an answer as it comes, and keeps it: an answer that is interrupted counts as far as it went."""

    def __init__(self, tokenizer) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text
        super().on_finalized_text(plain(text), stream_end)  # a model may write what acts on a terminal


class Conversation:
    """What was said so far. A model without a chat template goes on with each text, and remembers nothing."""

    def __init__(
        self,
        answerer: Answerer,
        system: str | None,
        stream: Callable[[Prompt, TextStreamer], None] | None = None,
    ) -> None:
        """`stream` answers a prompt, where the answerer itself does not, and tells the tokens to a streamer.

        Raises HeirloomError for a system message that no chat template can show the model.
        """
        self.stream = stream or (lambda prompt, streamer: answerer.answer([prompt], streamer=streamer))
        # an answer ends where the model's positions do, however long it might be
        answerer.section = answerer.section.model_copy(update={"max_length": answerer.positions})
        self.answerer, self.tokenizer = answerer, answerer.tokenizer
        self.remembers = self.tokenizer.chat_template is not None
        if system is not None and not self.remembers:
            raise HeirloomError("--system needs a chat template, and the checkpoint's tokenizer has none: leave it out")
        self.first = [{"role": "system", "content": system}] if system is not None else []
        self.begin()

    def begin(self) -> None:
        """Forget what was said."""
        self.messages = list(self.first)

    def answer(self, text: str) -> None:
        """Print the answer to `text` as it comes; Ctrl-C ends it.

        Raises HeirloomError, and forgets `text`, when there is no room for an answer or the template refuses it.
        """
        messages = [*self.messages, {"role": "user", "content": text}]
        prompt = self.prompt({"messages": messages} if self.remembers else {"prompt": text})
        shown = Shown(self.tokenizer)
        try:
            self.stream(prompt, shown)
        except KeyboardInterrupt:
            shown.end()
        if self.remembers:
            self.messages = [*messages, {"role": "assistant", "content": shown.text}]

    def prompt(self, row: dict) -> Prompt:
        """Return what the model gets. Raises HeirloomError as `answer` does."""
        text, problems = prompt_text(row, self.tokenizer)
        if problems:
            raise HeirloomError(problems[0])
        ids = prompt_ids(text, self.tokenizer, special=not self.remembers)
        if self.answerer.section.longest_answer(len(ids)) < 1:
            raise HeirloomError(
                f"the conversation has {len(ids)} tokens, and the model has {self.answerer.positions} positions: /new "
                "begins anew"
            )
        return Prompt(0, f"turn-{len(self.messages)}", text, tuple(ids), None)
