"""dure as a LangChain chat model and embeddings.

    from dure.integrations.langchain import ChatDure

    ChatDure(model="gpt-4o-mini", call=dure.Call(org="acme")).invoke("hello")

Every call is counted, held and settled like all of dure's; `response_metadata["dure"]` of an answer
says what it came to. Resends are dure's, within one budget.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dure
from dure.errors import MissingExtraError

try:
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import BaseChatModel, LangSmithParams
    from langchain_core.messages import (
        AIMessage,
        AIMessageChunk,
        BaseMessage,
        InvalidToolCall,
        convert_to_openai_messages,
    )
    from langchain_core.messages.tool import ToolCall, tool_call_chunk
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from langchain_core.utils.function_calling import convert_to_openai_tool
    from pydantic import BaseModel, ConfigDict, Field, SecretStr
except ImportError as missing:
    raise MissingExtraError.of("langchain", "langchain-core") from missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        CallbackManagerForLLMRun,
    )
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.runnables import Runnable
    from langchain_core.tools import BaseTool

__all__ = ["ChatDure", "DureEmbeddings"]


class _Connected(BaseModel):
    """Where calls go; the clients are cheap views, made on first use."""

    model_config = ConfigDict(arbitrary_types_allowed=True, populate_by_name=True)

    api_key: SecretStr | None = None
    base_url: str | None = None
    timeout: float | None = 600.0
    max_retries: int = 2
    data: str | None = None
    call: Any = Field(default=None, exclude=True)
    """A `dure.Call`: who calls, and the limits of every request."""

    def _options(self) -> dict[str, Any]:
        return {
            "api_key": self.api_key.get_secret_value() if self.api_key else None,
            "base_url": self.base_url,
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "data": self.data,
        }

    @cached_property
    def _client(self) -> dure.Client:
        return dure.Client(**self._options())

    @cached_property
    def _aclient(self) -> dure.AsyncClient:
        return dure.AsyncClient(**self._options())


class ChatDure(_Connected, BaseChatModel):
    """A chat model over `dure.Client`; parameters of the API that have no field go into `extra`."""

    model_name: str = Field(alias="model")
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    streaming: bool = False
    extra: dict[str, Any] = Field(default_factory=dict)

    @property
    def _llm_type(self) -> str:
        return "dure"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "base_url": self.base_url, **self.extra}

    def _get_ls_params(
        self,
        stop: list[str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - LangChain's
    ) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "dure"
        params["ls_model_name"] = kwargs.get("model", self.model_name)
        return params

    def _request(
        self, messages: list[BaseMessage], stop: list[str] | None, given: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the arguments of `create`."""
        own = {
            "model": self.model_name,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stop": stop or self.stop,
        }
        request = {name: value for name, value in own.items() if value is not None}
        request |= self.extra | {name: v for name, v in given.items() if not name.startswith("ls_")}
        return {**request, "messages": convert_to_openai_messages(messages), "dure": self.call}

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401 - the API's
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        return _result(self._client.chat.completions.create(**request))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ANN401 - the API's
    ) -> ChatResult:
        request = self._request(messages, stop, kwargs)
        return _result(await self._aclient.chat.completions.create(**request))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - the API's
    ) -> Iterator[ChatGenerationChunk]:
        request = _streamed(self._request(messages, stop, kwargs))
        with self._client.chat.completions.create(**request, stream=True) as stream:
            for chunk in stream:
                piece = _piece(chunk.to_dict())
                if run_manager is not None:
                    run_manager.on_llm_new_token(piece.text, chunk=piece)
                yield piece

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,  # noqa: ANN401 - the API's
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = _streamed(self._request(messages, stop, kwargs))
        async with await self._aclient.chat.completions.create(**request, stream=True) as stream:
            async for chunk in stream:
                piece = _piece(chunk.to_dict())
                if run_manager is not None:
                    await run_manager.on_llm_new_token(piece.text, chunk=piece)
                yield piece

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | dict[str, Any] | bool | None = None,
        strict: bool | None = None,
        **kwargs: Any,  # noqa: ANN401 - the API's
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with tools that it may call; `tool_choice`: a name, any, auto, none."""
        formatted = [convert_to_openai_tool(tool, strict=strict) for tool in tools]
        if tool_choice:
            kwargs["tool_choice"] = _choice(tool_choice)
        return self.bind(tools=formatted, **kwargs)


def _choice(tool_choice: str | dict[str, Any] | bool) -> str | dict[str, Any]:
    """Return LangChain's choice of a tool as the API has it."""
    if tool_choice is True or tool_choice == "any":
        return "required"
    if isinstance(tool_choice, str) and tool_choice not in {"auto", "none", "required"}:
        return {"type": "function", "function": {"name": tool_choice}}
    assert not isinstance(tool_choice, bool)
    return tool_choice


def _streamed(request: dict[str, Any]) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}, **request}


def _usage(usage: dict[str, Any] | None) -> UsageMetadata | None:
    """Return the usage in LangChain's names."""
    if not usage:
        return None
    into, out = usage["prompt_tokens"], usage["completion_tokens"]
    found: UsageMetadata = {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if cached is not None:
        found["input_token_details"] = {"cache_read": cached}
    if reasoning is not None:
        found["output_token_details"] = {"reasoning": reasoning}
    return found


def _result(answer: Any) -> ChatResult:  # noqa: ANN401 - a ChatCompletion of either face
    """Return an answer in LangChain's form."""
    body = answer.to_dict()
    generations = []
    for choice in body["choices"]:
        made = _message(choice["message"])
        made.usage_metadata = _usage(body.get("usage"))
        made.id = body.get("id")
        made.response_metadata = {
            "model_name": body.get("model"),
            "model_provider": "dure",
            "finish_reason": choice["finish_reason"],
            "dure": {**answer.dure.to_dict(), "cost_usd": str(answer.dure.cost_usd)},
        }
        generations.append(ChatGeneration(message=made))
    return ChatResult(generations=generations, llm_output={"model_name": body.get("model")})


def _message(message: dict[str, Any]) -> AIMessage:
    """Return a message; tool calls whose arguments are no JSON object are invalid ones."""
    good: list[ToolCall] = []
    bad: list[InvalidToolCall] = []
    for call in message.get("tool_calls") or []:
        name, text = call["function"]["name"], call["function"]["arguments"]
        try:
            arguments = json.loads(text or "{}")
        except ValueError as wrong:
            arguments = wrong
        if isinstance(arguments, dict):
            good.append(ToolCall(name=name, args=arguments, id=call["id"], type="tool_call"))
        else:
            error = "the arguments are no JSON object"
            bad.append(
                InvalidToolCall(
                    name=name, args=text, id=call["id"], error=error, type="invalid_tool_call"
                )
            )
    refusal = message.get("refusal")
    more = {"refusal": refusal} if refusal else {}
    return AIMessage(
        content=message.get("content") or "",
        tool_calls=good,
        invalid_tool_calls=bad,
        additional_kwargs=more,
    )


def _piece(chunk: dict[str, Any]) -> ChatGenerationChunk:
    """Return a chunk of a stream in LangChain's form."""
    choice: dict[str, Any] = next(iter(chunk.get("choices") or []), {})
    delta = choice.get("delta") or {}
    calls = [
        tool_call_chunk(
            name=(call.get("function") or {}).get("name"),
            args=(call.get("function") or {}).get("arguments"),
            id=call.get("id"),
            index=call["index"],
        )
        for call in delta.get("tool_calls") or []
    ]
    message = AIMessageChunk(
        content=delta.get("content") or "",
        tool_call_chunks=calls,
        usage_metadata=_usage(chunk.get("usage")),
        id=chunk.get("id"),
    )
    finish = choice.get("finish_reason")
    if finish:
        message.response_metadata = {
            "finish_reason": finish,
            "model_name": chunk.get("model"),
            "model_provider": "dure",
        }
    info = {"finish_reason": finish} if finish else None
    return ChatGenerationChunk(message=message, generation_info=info)


class DureEmbeddings(_Connected, Embeddings):
    """Embeddings over `dure.Client`, `batch` texts a request."""

    model: str
    dimensions: int | None = None
    batch: int = 256

    def _requests(self, texts: list[str]) -> list[dict[str, Any]]:
        more = {} if self.dimensions is None else {"dimensions": self.dimensions}
        return [
            {"model": self.model, "input": texts[at : at + self.batch], "dure": self.call, **more}
            for at in range(0, len(texts), self.batch)
        ]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        create = self._client.embeddings.create
        parts = [create(**request).vectors.tolist() for request in self._requests(texts)]
        return [vector for part in parts for vector in part]

    def embed_query(self, text: str) -> list[float]:
        """Return a vector."""
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        create = self._aclient.embeddings.create
        parts = [(await create(**request)).vectors.tolist() for request in self._requests(texts)]
        return [vector for part in parts for vector in part]

    async def aembed_query(self, text: str) -> list[float]:
        """Return a vector."""
        return (await self.aembed_documents([text]))[0]
