"""Serve a run's model by transformers' own OpenAI-compatible server, which is made for models of the hub.

Here it has one model, loaded as the stages load it and called by the run's name. It answers as the run does: greedily
unless a request gives a temperature, up to the run's max_new_tokens unless it gives another number, never beyond the
model's positions. Options of the API that it would pass over in silence are refused. Its other services (loading
models by name, unloading, documents) are kept from outside by `PATHS`.
"""

import logging
import time
from typing import Any

from jinja2 import TemplateError
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.import_utils import is_serve_available

from heirloom.errors import HeirloomError
from heirloom.models.language_models import longest_text
from heirloom.publishing.token_check import Application

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health")
HARMLESS = {"metadata", "parallel_tool_calls", "service_tier", "store", "stream_options", "user"}
"""Options that transformers passes over and that change no answer."""
WITHOUT_EFFECT = {"n": 1, "presence_penalty": 0, "best_of": 1, "logprobs": False, "echo": False, "tool_choice": "auto"}
"""The values of others that ask for nothing."""


def check_installed() -> None:
    """Raise HeirloomError where the libraries of transformers' server are not installed."""
    if not is_serve_available():
        raise HeirloomError("serving needs fastapi, uvicorn and openai, and not all are installed: `make setup-serve`")


def application(
    run: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, longest_answer: int
) -> Application:
    """Return an ASGI application that answers for a model, which is called `run`, with its generation config.

    `longest_answer`: tokens, where a request does not say.
    """
    check_installed()
    from fastapi import HTTPException, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.completion import CompletionHandler
    from transformers.cli.serving.model_manager import ModelManager, TimedModel
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.utils import GenerateManager, GenerationState

    positions = longest_text(model.config.get_text_config())

    class OneModel(ModelManager):
        """Has the run's model, and no other."""

        def __init__(self) -> None:
            super().__init__(model_timeout=-1)
            self.force_model = run
            self.loaded_models[run] = TimedModel(model, timeout_seconds=-1, processor=tokenizer)
            self.since = int(time.time())

        @staticmethod
        def process_model_name(model_id: str) -> str:
            return model_id

        def get_gen_models(self, cache_dir: str | None = None) -> list[dict]:
            return [{"id": run, "object": "model", "created": self.since, "owned_by": "heirloom"}]

    class WithinPositions(GenerateManager):
        """Generates no further than the model's positions."""

        def generate_streaming(self, model, processor, inputs, gen_config, *more: Any, **others: Any):
            bounded(inputs["input_ids"].shape[-1], gen_config)
            return super().generate_streaming(model, processor, inputs, gen_config, *more, **others)

        async def generate_non_streaming(self, model, processor, inputs, gen_config, *more: Any, **others: Any):
            bounded(inputs["input_ids"].shape[-1], gen_config)
            return await super().generate_non_streaming(model, processor, inputs, gen_config, *more, **others)

    def bounded(prompt: int, config: GenerationConfig) -> None:
        if prompt == 0 or (positions is not None and prompt >= positions):
            raise HTTPException(400, f"the prompt has {prompt} tokens, and the model has {positions} positions")
        if positions is not None:
            config.max_new_tokens = min(config.max_new_tokens, positions - prompt)

    class State(GenerationState):
        """Has one way to generate, for the one model."""

        manager = WithinPositions()

        def get_manager(self, model_id: str, use_cb: bool = False) -> GenerateManager:
            return self.manager

    class AsTheRun:
        """What both kinds of request have in common here."""

        def _validate_request(self, body: dict) -> None:
            super()._validate_request(body)
            asked = {key for key, value in body.items() if value is not None and WITHOUT_EFFECT.get(key) != value}
            if refused := sorted(asked & self._unused_fields - HARMLESS):
                raise HTTPException(400, f"not available from this server: {', '.join(refused)}")

        def _build_generation_config(self, body: dict, model_generation_config: GenerationConfig, use_cb: bool = False):
            config = super()._build_generation_config(body, model_generation_config, use_cb=use_cb)
            if not (body.get("generation_config") or body.get("max_tokens") or body.get("max_completion_tokens")):
                config.max_new_tokens = longest_answer
            if body.get("generation_config") is None:
                config.do_sample = bool(body.get("temperature"))
                config.top_k = 0 if config.do_sample else None  # the API knows top_p alone
            return config

    class Chats(AsTheRun, ChatCompletionHandler):
        """Answers conversations."""

    class Texts(AsTheRun, CompletionHandler):
        """Goes on with texts."""

    manager, state = OneModel(), State()
    server = build_server(
        manager,
        chat_handler=Chats(manager, state),
        completion_handler=Texts(manager, state),
        response_handler=None,  # what PATHS lets nobody reach
        transcription_handler=None,
        systemone_handler=None,
        generation_state=state,
    )

    async def told(_request: Request, error: HTTPException) -> JSONResponse:
        """Tell in the form of OpenAI's API what a handler refuses."""
        return JSONResponse({"error": {"message": error.detail, "type": "invalid_request_error"}}, error.status_code)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        """Tell what a chat template or `generate` refuses: what a request brings about is no failure of the server."""
        message = f"the request cannot be answered: {type(error).__name__}: {' '.join(str(error).split())}"
        return await told(request, HTTPException(400, message))

    server.add_exception_handler(HTTPException, told)
    for kind in (RequestValidationError, TemplateError, ValueError, TypeError, LookupError):
        server.add_exception_handler(kind, refused)
    logging.getLogger("transformers").setLevel(logging.ERROR)  # a line a request
    return server
