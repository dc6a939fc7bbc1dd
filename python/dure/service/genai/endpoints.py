"""Gen-AI: which models there are, which a service may use, and the services themselves."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from dure.calls import Call
from dure.calls.replies import ChatCompletion
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Subject, Who
from dure.service.calling import call_of, check_model
from dure.service.kit.bill import bill
from dure.service.models import service as model_service
from dure.service.models.schemas import ModelListResponse

from . import service
from .schemas import (
    ChatAnswer,
    ChatRequest,
    CompareRequest,
    Comparison,
    NarrativeReport,
    NarrativeReportRequest,
    ServiceModelPolicyResponse,
    Strategy,
    StrategyBuilderRequest,
    Usage,
)
from .services import (
    ChatOpsAdvancedService,
    NarrativeReportService,
    ServiceFactory,
    StrategyBuilderService,
)

router = APIRouter(prefix="/api/v1/gen-ai", tags=["gen-ai"], route_class=PolicyRoute)


@router.get("/models")
@requires(role="viewer", scope="models")
async def list_models(tier: str | None = None) -> ModelListResponse:
    """List the models of the catalogue, or of one tier."""
    return model_service.catalogue(tier)


@router.get("/models/{service_name}")
@requires(role="viewer", scope="models")
async def get_policy(service_name: str) -> ServiceModelPolicyResponse:
    """Say what a service may use."""
    return service.policy_of(service_name)


@router.post("/strategies")
@requires(role="user", scope="gen-ai")
async def build_strategy(
    who: Who, asked: StrategyBuilderRequest, request: Request, response: Response
) -> Strategy:
    """Build a strategy; `StrategyBuilder`, by default with its cheapest model."""
    call = _call(who, asked.model_id, request, StrategyBuilderService)
    made = await ServiceFactory.strategy_builder().build_strategy(asked, call)
    return Strategy(strategy=text_of(made), **_facts(made, request, response))


@router.post("/reports")
@requires(role="user", scope="gen-ai")
async def generate_report(
    who: Who, asked: NarrativeReportRequest, request: Request, response: Response
) -> NarrativeReport:
    """Tell figures as a text; `NarrativeReport`."""
    call = _call(who, asked.model_id, request, NarrativeReportService)
    made = await ServiceFactory.narrative_report().generate_report(asked, call)
    return NarrativeReport(report=text_of(made), **_facts(made, request, response))


@router.post("/chat")
@requires(role="user", scope="gen-ai")
async def chat(who: Who, asked: ChatRequest, request: Request, response: Response) -> ChatAnswer:
    """Answer a conversation; `ChatOpsAdvanced`."""
    call = _call(who, asked.model_id, request, ChatOpsAdvancedService)
    made = await ServiceFactory.chat_ops_advanced().chat(asked, call)
    return ChatAnswer(response=text_of(made), **_facts(made, request, response))


@router.post("/chat/compare")
@requires(role="user", scope="gen-ai")
async def compare_strategies(
    who: Who, asked: CompareRequest, request: Request, response: Response
) -> Comparison:
    """Weigh strategies against each other; `ChatOpsAdvanced`."""
    call = _call(who, asked.model_id, request, ChatOpsAdvancedService)
    made = await ServiceFactory.chat_ops_advanced().compare_strategies(asked, call)
    return Comparison(comparison=text_of(made), **_facts(made, request, response))


_Services = StrategyBuilderService | NarrativeReportService | ChatOpsAdvancedService


def _call(who: Subject, model: str | None, request: Request, service: type[_Services]) -> Call:
    """Return who pays; a key for some models is held to them where a default counts, too."""
    manager = ServiceFactory.get_openai_client_manager()
    default = manager.get_service_policy(service.service_name).default_model
    check_model(who, default if model is None else model)
    return call_of(who, request.scope)


def text_of(made: ChatCompletion) -> str:
    """Return the text of an answer."""
    return made.choices[0].message.content or ""


def _facts(made: ChatCompletion, request: Request, response: Response) -> dict[str, Any]:
    """Return model and usage of an answer; its bill goes into the headers."""
    response.headers.update(bill(made.dure, request.scope))
    facts = made.dure
    usage = Usage(
        input_tokens=facts.input_tokens,
        output_tokens=facts.output_tokens,
        cost_pico=facts.cost_pico,
        cost_usd=f"{facts.cost_usd:f}",
    )
    return {"model_id": facts.model, "usage": usage}
