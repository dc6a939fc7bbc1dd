"""Prompts: `/api/prompt-templates`, `/api/prompt-datasets`."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request, Response

from dure.errors import NotFoundError
from dure.service.auth.policy import PolicyRoute, requires
from dure.service.auth.subject import Who
from dure.service.calling import call_of, check_model
from dure.service.kit.clock import microseconds
from dure.service.kit.paging import Cursor, Limit, cursor_of, read_cursor
from dure.service.kit.state import state_of
from dure.service.kit.work import ReadWork, WriteWork

from . import service
from .repository import (
    DatasetRepository,
    EvaluationRepository,
    TemplateRepository,
    VersionRepository,
)
from .schemas import (
    DatasetCreate,
    DatasetList,
    DatasetOut,
    EvaluationCreate,
    EvaluationList,
    EvaluationOut,
    Judge,
    Kind,
    Label,
    LabelMove,
    LabelOut,
    Rendered,
    RenderRequest,
    ScoreList,
    ScoreOut,
    TemplateCreate,
    TemplateList,
    TemplateOut,
    TemplateUpdate,
    VersionCreate,
    VersionList,
    VersionOut,
)
from .tasks import Evaluations, evaluation_out

router = APIRouter(prefix="/api/v1", tags=["prompts"], route_class=PolicyRoute)

Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
LabelName = Annotated[Label, Path()]


def evaluations_of(request: Request) -> Evaluations:
    """Return the app's evaluations."""
    return cast("Evaluations", request.app.state.evaluations)


@router.post("/prompt-templates", status_code=201)
@requires(role="user", scope="prompts:write", owner="org")
async def create_template(who: Who, asked: TemplateCreate, request: Request) -> TemplateOut:
    """Make a template and its first version."""
    state = state_of(request)
    variables = await service.prepared(evaluations_of(request).sandbox, who, asked)
    async with state.database.write() as work:
        row = await service.create(work, state, who, asked, variables)
        return (await service.shown(work, who, [row]))[0]


@router.get("/prompt-templates")
@requires(role="viewer", scope="prompts:read", owner="org")
async def list_templates(
    who: Who,
    work: ReadWork,
    kind: Annotated[Kind | None, Query()] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> TemplateList:
    """List the organisation's templates, by name."""
    after = read_cursor(cursor, str)
    rows = await TemplateRepository(work, who.org_id).page(limit, after, kind)
    shown = await service.shown(work, who, rows[:limit])
    return TemplateList(
        templates=shown, next=cursor_of(shown[-1].name) if len(rows) > limit else None
    )


@router.get("/prompt-templates/{template_id}")
@requires(role="viewer", scope="prompts:read", owner="org")
async def get_template(who: Who, template_id: str, work: ReadWork) -> TemplateOut:
    """Return a template with its labels."""
    row = await service.needed(work, who, template_id)
    return (await service.shown(work, who, [row]))[0]


@router.patch("/prompt-templates/{template_id}")
@requires(role="user", scope="prompts:write", owner="org")
async def change_template(
    who: Who, template_id: str, asked: TemplateUpdate, work: WriteWork, request: Request
) -> TemplateOut:
    """Change name or description; texts change by a new version."""
    row = await service.change(work, state_of(request), who, template_id, asked)
    return (await service.shown(work, who, [row]))[0]


@router.delete("/prompt-templates/{template_id}", status_code=204)
@requires(role="user", scope="prompts:write", owner="org")
async def delete_template(
    who: Who, template_id: str, work: WriteWork, request: Request
) -> Response:
    """Delete a template with its versions, labels and evaluations."""
    await service.remove(work, state_of(request), who, template_id)
    return Response(status_code=204)


@router.post("/prompt-templates/{template_id}/versions", status_code=201)
@requires(role="user", scope="prompts:write", owner="org")
async def add_version(
    who: Who, template_id: str, asked: VersionCreate, request: Request
) -> VersionOut:
    """Add a version; those before it stay as they are."""
    state = state_of(request)
    variables = await service.prepared(evaluations_of(request).sandbox, who, asked)
    async with state.database.write() as work:
        version = await service.add_version(work, state, who, template_id, asked, variables)
        await work.flush()
        rows = await VersionRepository(work, who.org_id).of(template_id, version)
        return service.versions_out(rows)[0]


@router.get("/prompt-templates/{template_id}/versions")
@requires(role="viewer", scope="prompts:read", owner="org")
async def list_versions(
    who: Who, template_id: str, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> VersionList:
    """List a template's versions, newest first."""
    await service.needed(work, who, template_id)
    before = read_cursor(cursor, int)
    repository = VersionRepository(work, who.org_id)
    numbers = await repository.numbers(template_id, limit, before)
    rows = await repository.among(template_id, numbers[:limit])
    more = len(numbers) > limit
    return VersionList(
        versions=service.versions_out(rows), next=cursor_of(numbers[limit - 1]) if more else None
    )


@router.get("/prompt-templates/{template_id}/versions/{version}")
@requires(role="viewer", scope="prompts:read", owner="org")
async def get_version(who: Who, template_id: str, version: Version, work: ReadWork) -> VersionOut:
    """Return a version in all its languages."""
    rows = await VersionRepository(work, who.org_id).of(template_id, version)
    if not rows:
        raise NotFoundError(f"no version {version}")
    return service.versions_out(rows)[0]


@router.put("/prompt-templates/{template_id}/labels/{label}")
@requires(role="user", scope="prompts:write", owner="org")
async def move_label(
    who: Who,
    template_id: str,
    label: LabelName,
    asked: LabelMove,
    work: WriteWork,
    request: Request,
) -> LabelOut:
    """Publish: let a label (`production`, `staging`, your own) point to a version."""
    row = await service.move_label(work, state_of(request), who, template_id, label, asked.version)
    return LabelOut.model_validate(row)


@router.post("/prompt-templates/{template_id}/labels/{label}/rollback")
@requires(role="user", scope="prompts:write", owner="org")
async def roll_back(
    who: Who, template_id: str, label: LabelName, work: WriteWork, request: Request
) -> LabelOut:
    """Let a label point again to the version before."""
    row = await service.label_back(work, state_of(request), who, template_id, label)
    return LabelOut.model_validate(row)


@router.delete("/prompt-templates/{template_id}/labels/{label}", status_code=204)
@requires(role="user", scope="prompts:write", owner="org")
async def remove_label(
    who: Who, template_id: str, label: LabelName, work: WriteWork, request: Request
) -> Response:
    """Take a label away; its version stays."""
    await service.remove_label(work, state_of(request), who, template_id, label)
    return Response(status_code=204)


@router.post("/prompt-templates/{template_id}/render")
@requires(role="viewer", scope="prompts:read", owner="org")
async def render(
    who: Who, template_id: str, asked: RenderRequest, work: ReadWork, request: Request
) -> Rendered:
    """Render a template; values are text to it and are not looked through again."""
    return await service.rendered(work, evaluations_of(request).sandbox, who, template_id, asked)


@router.post("/prompt-templates/{template_id}/evaluations", status_code=202)
@requires(role="user", scope="prompts:write", owner="org")
async def evaluate(
    who: Who, template_id: str, asked: EvaluationCreate, request: Request
) -> EvaluationOut:
    """Score versions on a data set, for so much money at most; it runs beside the requests."""
    for model in (asked.model, *(one.model for one in asked.scorers if isinstance(one, Judge))):
        check_model(who, model)
    call = call_of(who, request.scope, priority="batch")
    row = await evaluations_of(request).begin(who, template_id, asked, call)
    return evaluation_out(row, state_of(request))


@router.get("/prompt-templates/{template_id}/evaluations")
@requires(role="viewer", scope="prompts:read", owner="org")
async def list_evaluations(
    who: Who,
    template_id: str,
    work: ReadWork,
    request: Request,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EvaluationList:
    """List a template's evaluations, newest first."""
    await service.needed(work, who, template_id)
    before = read_cursor(cursor, int, str)
    repository = EvaluationRepository(work, who.org_id)
    rows = await repository.page(template_id, limit, before)
    last = rows[limit - 1] if len(rows) > limit else None
    return EvaluationList(
        evaluations=[evaluation_out(row, state_of(request)) for row in rows[:limit]],
        next=None if last is None else cursor_of(microseconds(last.created_at), last.id),
    )


@router.get("/prompt-templates/{template_id}/evaluations/{evaluation_id}")
@requires(role="viewer", scope="prompts:read", owner="org")
async def get_evaluation(
    who: Who, template_id: str, evaluation_id: str, work: ReadWork, request: Request
) -> EvaluationOut:
    """Return an evaluation: each version's scores, cost and time side by side."""
    row = await EvaluationRepository(work, who.org_id).one(template_id, evaluation_id)
    if row is None:
        raise NotFoundError("no such evaluation")
    return evaluation_out(row, state_of(request))


@router.get("/prompt-templates/{template_id}/evaluations/{evaluation_id}/scores")
@requires(role="viewer", scope="prompts:read", owner="org")
async def list_scores(
    who: Who,
    template_id: str,
    evaluation_id: str,
    work: ReadWork,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> ScoreList:
    """List an evaluation's answers with their scores, by version and item."""
    repository = EvaluationRepository(work, who.org_id)
    if await repository.one(template_id, evaluation_id) is None:
        raise NotFoundError("no such evaluation")
    after = read_cursor(cursor, int, int)
    rows = await repository.scores(evaluation_id, limit, after)
    last = rows[limit - 1] if len(rows) > limit else None
    return ScoreList(
        scores=[ScoreOut.model_validate(row) for row in rows[:limit]],
        next=None if last is None else cursor_of(last.version, last.item),
    )


@router.post("/prompt-datasets", status_code=201)
@requires(role="user", scope="prompts:write", owner="org")
async def create_dataset(
    who: Who, asked: DatasetCreate, work: WriteWork, request: Request
) -> DatasetOut:
    """Keep cases to score versions on."""
    row = await service.add_dataset(work, state_of(request), who, asked)
    return DatasetOut(**_facts((row.id, row.name, row.owner_id, row.count, row.created_at)))


@router.get("/prompt-datasets")
@requires(role="viewer", scope="prompts:read", owner="org")
async def list_datasets(
    who: Who, work: ReadWork, limit: Limit = 50, cursor: Cursor = None
) -> DatasetList:
    """List the organisation's data sets, by name."""
    after = read_cursor(cursor, str)
    rows = await DatasetRepository(work, who.org_id).page(limit, after)
    shown = [DatasetOut(**_facts(row)) for row in rows[:limit]]
    return DatasetList(
        datasets=shown, next=cursor_of(shown[-1].name) if len(rows) > limit else None
    )


@router.delete("/prompt-datasets/{dataset_id}", status_code=204)
@requires(role="user", scope="prompts:write", owner="org")
async def delete_dataset(who: Who, dataset_id: str, work: WriteWork, request: Request) -> Response:
    """Delete a data set that no evaluation was made on."""
    await service.remove_dataset(work, state_of(request), who, dataset_id)
    return Response(status_code=204)


def _facts(row: object) -> dict[str, Any]:
    names = ("id", "name", "owner_id", "count", "created_at")
    return dict(zip(names, cast("tuple[object, ...]", row), strict=True))
