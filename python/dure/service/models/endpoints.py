"""Model lists: ours at `/api/v1/models`, OpenAI's at `/v1/models`."""

from __future__ import annotations

from fastapi import APIRouter

from dure.service.auth.policy import PolicyRoute, requires

from . import service
from .schemas import ModelListResponse, OpenAIModel, OpenAIModelList

router = APIRouter(tags=["models"], route_class=PolicyRoute)


@router.get("/api/v1/models")
@requires(role="viewer", scope="models")
async def list_models() -> ModelListResponse:
    """List the catalogue."""
    return service.catalogue()


@router.get("/v1/models", summary="List models as OpenAI does")
@requires(role="viewer", scope="models")
async def list_openai_models() -> OpenAIModelList:
    """List the catalogue as OpenAI does."""
    return OpenAIModelList(
        data=[OpenAIModel(id=model.model_id) for model in service.catalogue().models]
    )


@router.get("/v1/models/{model_id:path}", summary="Get one model as OpenAI does")
@requires(role="viewer", scope="models")
async def get_openai_model(model_id: str) -> OpenAIModel:
    """Return one model as OpenAI does."""
    return OpenAIModel(id=service.known(model_id).model_id)
