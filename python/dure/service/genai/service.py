"""What a gen-AI service may use, by its policy."""

from __future__ import annotations

from dure.errors import InvalidModelError
from dure.manager import OpenAIClientManager
from dure.models import MODEL_CATALOG
from dure.service.models import service as model_service

from .schemas import ServiceModelPolicyResponse

__all__ = ["policy_of"]


def policy_of(service_name: str) -> ServiceModelPolicyResponse:
    """Return the models that pass the service's policy, and its default.

    Raises:
        NotFoundError: there is no such service.
    """
    manager = OpenAIClientManager()
    policy = manager.get_service_policy(service_name)
    allowed = [
        config
        for config in MODEL_CATALOG.values()
        if _passes(manager, config.model_id, service_name)
    ]
    return ServiceModelPolicyResponse(
        service_name=policy.service_name,
        allowed_models=model_service.listed(allowed).models,
        default_model=policy.default_model,
    )


def _passes(manager: OpenAIClientManager, model_id: str, service_name: str) -> bool:
    try:
        manager.validate_model_for_service(model_id, service_name)
    except InvalidModelError:
        return False
    return True
