"""Model selection: which models there are, which a service may use."""

from __future__ import annotations

from fastapi import APIRouter

from dure.service.auth.policy import PolicyRoute, requires
from dure.service.models import service as model_service
from dure.service.models.schemas import ModelListResponse

from . import service
from .schemas import ServiceModelPolicyResponse

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
