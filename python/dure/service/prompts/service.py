"""Prompt templates: versions are added, labels are moved and taken back, text is rendered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from dure import prompts
from dure.db.base import new_id
from dure.db.tables import (
    PromptDatasetModel,
    PromptLabelModel,
    PromptLabelMoveModel,
    PromptTemplateModel,
    PromptVersionModel,
)
from dure.errors import InvalidArgumentError, NotFoundError
from dure.service.auth.subject import Subject
from dure.service.errors import ConflictError, ForbiddenError
from dure.service.kit import audit
from dure.service.kit.state import State
from dure.tokens import count

from .repository import DatasetRepository, LabelRepository, TemplateRepository, VersionRepository
from .sandbox import Sandbox
from .schemas import (
    ANY,
    DatasetCreate,
    Rendered,
    RenderRequest,
    TemplateCreate,
    TemplateOut,
    TemplateUpdate,
    VersionCreate,
    VersionOut,
)

__all__ = [
    "add_dataset",
    "add_version",
    "change",
    "checked_variables",
    "create",
    "in_locale",
    "label_back",
    "move_label",
    "name_variables",
    "needed",
    "prepared",
    "remove",
    "remove_dataset",
    "remove_label",
    "rendered",
    "shown",
    "versions_out",
]

_DEEPEST = 16
_MOST_VERSIONS = 10_000
PRODUCTION = "production"


async def prepared(sandbox: Sandbox, who: Subject, asked: VersionCreate) -> dict[str, list[str]]:
    """Return the variables of each language's text; nothing is written yet.

    Raises:
        ForbiddenError: a Jinja2 template, and the caller is no administrator.
        InvalidArgumentError: a text is no template; too deep parameters.
    """
    if asked.mode == "jinja" and who.role != "admin":
        raise ForbiddenError("Jinja2 templates are for administrators.", code="role_too_low")
    _check_depth(asked.parameters, "parameters")
    return {locale: await name_variables(sandbox, asked.mode, text)
            for locale, text in asked.texts.items()}  # fmt: skip


async def name_variables(sandbox: Sandbox, mode: str, text: str) -> list[str]:
    """Return the names of a template's variables."""
    return await sandbox.variables_of(text) if mode == "jinja" else prompts.variables_of(text)


async def create(
    work: AsyncSession,
    state: State,
    who: Subject,
    asked: TemplateCreate,
    variables: dict[str, list[str]],
) -> PromptTemplateModel:
    """Keep a template and its first version.

    Raises:
        ConflictError: there is one of that name.
    """
    repository = TemplateRepository(work, who.org_id)
    if await repository.named(asked.name) is not None:
        raise _taken()
    row = repository.add(
        PromptTemplateModel(
            id=new_id("tpl"),
            org_id=who.org_id,
            owner_id=who.user_id or who.actor,
            name=asked.name,
            kind=asked.kind,
            description=asked.description,
            latest=0,
            created_at=state.clock.now(),
        )
    )
    await _flushed(work)
    _add_texts(work, state, who, row, asked, variables)
    await audit.tell(work, state, who, "template.create", row.id, name=row.name)
    return row


async def add_version(
    work: AsyncSession,
    state: State,
    who: Subject,
    template_id: str,
    asked: VersionCreate,
    variables: dict[str, list[str]],
) -> int:
    """Keep a new version; return its number.

    Raises:
        NotFoundError: there is no such template.
        ConflictError: it has as many versions as it can have.
    """
    row = await needed(work, who, template_id, lock=True)
    if row.latest >= _MOST_VERSIONS:
        raise ConflictError("this template has 10,000 versions: begin a new one", code="too_many")
    _add_texts(work, state, who, row, asked, variables)
    await audit.tell(work, state, who, "template.version", row.id, version=row.latest)
    return row.latest


def _add_texts(
    work: AsyncSession,
    state: State,
    who: Subject,
    row: PromptTemplateModel,
    asked: VersionCreate,
    variables: dict[str, list[str]],
) -> None:
    row.latest += 1
    for locale, text in asked.texts.items():
        work.add(
            PromptVersionModel(
                template_id=row.id,
                version=row.latest,
                locale=locale,
                org_id=row.org_id,
                text=text,
                variables=variables[locale],
                mode=asked.mode,
                parameters=asked.parameters,
                created_by=who.user_id or who.actor,
                created_at=state.clock.now(),
            )
        )


async def change(
    work: AsyncSession, state: State, who: Subject, template_id: str, asked: TemplateUpdate
) -> PromptTemplateModel:
    """Change name or description.

    Raises:
        NotFoundError: there is no such template.
        ConflictError: there is another of that name.
    """
    row = await _own(work, who, template_id)
    changed = asked.model_dump(exclude_none=True)
    for name, value in changed.items():
        setattr(row, name, value)
    await _flushed(work)
    await audit.tell(work, state, who, "template.change", row.id, **changed)
    return row


async def remove(work: AsyncSession, state: State, who: Subject, template_id: str) -> None:
    """Take a template away with its versions, labels and evaluations.

    Raises:
        NotFoundError: there is no such template.
        ForbiddenError: it is somebody else's, and the caller is no administrator.
    """
    row = await _own(work, who, template_id)
    await TemplateRepository(work, who.org_id).remove(row)
    await audit.tell(work, state, who, "template.delete", template_id, name=row.name)


async def needed(
    work: AsyncSession, who: Subject, template_id: str, *, lock: bool = False
) -> PromptTemplateModel:
    """Return a template.

    Raises:
        NotFoundError: there is no such template in the tenant.
    """
    row = await TemplateRepository(work, who.org_id).one(template_id, lock=lock)
    if row is None:
        raise NotFoundError("no such template")
    return row


async def _own(work: AsyncSession, who: Subject, template_id: str) -> PromptTemplateModel:
    row = await needed(work, who, template_id, lock=True)
    if who.role != "admin" and row.owner_id != (who.user_id or who.actor):
        raise ForbiddenError("Only its owner or an administrator may do that.", code="not_owner")
    return row


async def move_label(
    work: AsyncSession, state: State, who: Subject, template_id: str, label: str, version: int
) -> PromptLabelModel:
    """Let a label point to a version: it is published.

    Raises:
        NotFoundError: there is no such template or version.
    """
    await _own(work, who, template_id)
    if not await VersionRepository(work, who.org_id).of(template_id, version):
        raise NotFoundError(f"no version {version}")
    return await _moved(work, state, who, template_id, label, version, "set")


async def label_back(
    work: AsyncSession, state: State, who: Subject, template_id: str, label: str
) -> PromptLabelModel:
    """Let a label point again to what it pointed to before; again and again, to its first.

    Raises:
        NotFoundError: there is no such template or label.
        ConflictError: it never pointed to anything else.
    """
    await _own(work, who, template_id)
    repository = LabelRepository(work, who.org_id)
    if await repository.one(template_id, label) is None:
        raise NotFoundError("no such label")
    path: list[int] = []
    for move in await repository.moves(template_id, label):
        if move.kind == "set":
            path.append(move.version)
        else:  # `back` to the one before; `gone`: the label began anew
            del path[-1 if move.kind == "back" else 0 :]
    if len(path) < 2:
        raise ConflictError("this label never pointed to another version", code="no_earlier")
    return await _moved(work, state, who, template_id, label, path[-2], "back")


async def remove_label(
    work: AsyncSession, state: State, who: Subject, template_id: str, label: str
) -> None:
    """Take a label away; the version stays.

    Raises:
        NotFoundError: there is no such template or label.
    """
    await _own(work, who, template_id)
    row = await LabelRepository(work, who.org_id).one(template_id, label)
    if row is None:
        raise NotFoundError("no such label")
    await _keep_move(work, state, who, row, "gone")
    await work.delete(row)


async def _moved(
    work: AsyncSession,
    state: State,
    who: Subject,
    template_id: str,
    label: str,
    version: int,
    kind: str,
) -> PromptLabelModel:
    repository = LabelRepository(work, who.org_id)
    row = await repository.one(template_id, label)
    if row is None:
        row = repository.add(
            PromptLabelModel(template_id=template_id, label=label, org_id=who.org_id, version=0,
                             moved_by="", moved_at=state.clock.now())
        )  # fmt: skip
    elif kind == "set" and row.version == version:
        return row
    row.version, row.moved_by, row.moved_at = version, who.user_id or who.actor, state.clock.now()
    await _keep_move(work, state, who, row, kind)
    return row


async def _keep_move(
    work: AsyncSession, state: State, who: Subject, row: PromptLabelModel, kind: str
) -> None:
    moves = await LabelRepository(work, who.org_id).moves(row.template_id, row.label)
    work.add(
        PromptLabelMoveModel(
            template_id=row.template_id,
            label=row.label,
            seq=len(moves) + 1,
            org_id=row.org_id,
            version=row.version,
            kind=kind,
            moved_by=who.user_id or who.actor,
            moved_at=state.clock.now(),
        )
    )
    await audit.tell(
        work, state, who, f"label.{kind}", row.template_id, label=row.label, version=row.version
    )


async def shown(
    work: AsyncSession, who: Subject, rows: Sequence[PromptTemplateModel]
) -> list[TemplateOut]:
    """Return templates with their labels; two statements for any number."""
    labels = await LabelRepository(work, who.org_id).of([row.id for row in rows])
    return [
        TemplateOut(
            id=row.id,
            name=row.name,
            kind=row.kind,
            description=row.description,
            owner_id=row.owner_id,
            latest=row.latest,
            labels=labels[row.id],
            created_at=row.created_at,
        )
        for row in rows
    ]


def versions_out(rows: Sequence[PromptVersionModel]) -> list[VersionOut]:
    """Return versions, each in all its languages, in the order of the rows."""
    found: dict[int, list[PromptVersionModel]] = {}
    for row in rows:
        found.setdefault(row.version, []).append(row)
    return [
        VersionOut(
            version=version,
            mode=texts[0].mode,
            texts={row.locale: row.text for row in texts},
            variables=_schema_of(sorted({name for row in texts for name in row.variables})),
            parameters=texts[0].parameters,
            created_by=texts[0].created_by,
            created_at=texts[0].created_at,
        )
        for version, texts in found.items()
    ]


def _schema_of(names: list[str]) -> dict[str, Any]:
    """Return the JSON Schema of the variables, for forms and for checks."""
    return {
        "type": "object",
        "properties": {name: {"title": name} for name in names},
        "required": names,
        "additionalProperties": False,
    }


def in_locale(rows: Sequence[PromptVersionModel], locale: str) -> PromptVersionModel:
    """Return the text for a language: `pt-BR`, else `pt`, else `*`.

    Raises:
        NotFoundError: the version has no text for it.
    """
    found = {row.locale.lower(): row for row in rows}
    parts = locale.lower().split("-")
    for length in range(len(parts), 0, -1):
        row = found.get("-".join(parts[:length]))
        if row is not None:
            return row
    if ANY in found:
        return found[ANY]
    has = ", ".join(sorted(row.locale for row in rows))
    raise NotFoundError(f"no text in {locale}: this version has {has}")


async def rendered(
    work: AsyncSession, sandbox: Sandbox, who: Subject, template_id: str, asked: RenderRequest
) -> Rendered:
    """Render a template.

    Raises:
        NotFoundError: there is no such template, version, label or language.
        InvalidArgumentError: a variable is missing, unknown, too deep, or cannot be rendered.
    """
    template = await needed(work, who, template_id)
    version = await _version_of(work, who, template, asked)
    rows = await VersionRepository(work, who.org_id).of(template_id, version)
    if not rows:
        raise NotFoundError(f"no version {version}")
    row = in_locale(rows, asked.locale)
    text = await text_of(sandbox, row, asked.variables)
    return Rendered(
        text=text,
        version=version,
        locale=row.locale,
        tokens=count(text),
        parameters=row.parameters,
    )


async def text_of(sandbox: Sandbox, row: PromptVersionModel, variables: dict[str, Any]) -> str:
    """Return a version's text with these values.

    Raises:
        InvalidArgumentError: a variable is missing, unknown, too deep, or cannot be rendered.
    """
    checked_variables(variables)
    if row.mode == "jinja":
        for name in row.variables:
            if name not in variables:
                raise _bad_variable(name, "is missing")
        for name in variables:
            if name not in row.variables:
                raise _bad_variable(name, "is no variable of this template")
        return await sandbox.render(row.text, variables)
    try:
        return prompts.render(row.text, variables)
    except InvalidArgumentError as wrong:
        raise InvalidArgumentError(str(wrong), argument=wrong.argument, http_status=422) from None


def checked_variables(variables: dict[str, Any]) -> None:
    """Refuse values that are nested too deep.

    Raises:
        InvalidArgumentError: naming the variable.
    """
    for name, value in variables.items():
        _check_depth(value, f"variables.{name}")


def _check_depth(value: object, argument: str) -> None:
    left: list[tuple[object, int]] = [(value, 0)]
    while left:
        one, depth = left.pop()
        if depth > _DEEPEST:
            raise InvalidArgumentError(
                f"{argument} is nested deeper than {_DEEPEST}", argument=argument, http_status=422
            )
        if isinstance(one, dict):
            left += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, list):
            left += [(inner, depth + 1) for inner in one]


async def _version_of(
    work: AsyncSession, who: Subject, template: PromptTemplateModel, asked: RenderRequest
) -> int:
    if asked.version is not None:
        return asked.version
    label = await LabelRepository(work, who.org_id).one(template.id, asked.label or PRODUCTION)
    if label is not None:
        return label.version
    if asked.label is not None:
        raise NotFoundError(f"no label {asked.label}")
    return template.latest


async def add_dataset(
    work: AsyncSession, state: State, who: Subject, asked: DatasetCreate
) -> PromptDatasetModel:
    """Keep a data set.

    Raises:
        ConflictError: there is one of that name.
        InvalidArgumentError: a variable is nested too deep.
    """
    for item in asked.items:
        checked_variables(item.variables)
    repository = DatasetRepository(work, who.org_id)
    if await repository.named(asked.name) is not None:
        raise _taken()
    row = repository.add(
        PromptDatasetModel(
            id=new_id("dst"),
            org_id=who.org_id,
            owner_id=who.user_id or who.actor,
            name=asked.name,
            items=[item.model_dump() for item in asked.items],
            count=len(asked.items),
            created_at=state.clock.now(),
        )
    )
    await _flushed(work)
    return row


async def remove_dataset(work: AsyncSession, state: State, who: Subject, dataset_id: str) -> None:
    """Take a data set away that no evaluation was made on.

    Raises:
        NotFoundError: there is no such data set.
        ConflictError: there are evaluations on it.
        ForbiddenError: it is somebody else's.
    """
    repository = DatasetRepository(work, who.org_id)
    row = await repository.one(dataset_id)
    if row is None:
        raise NotFoundError("no such data set")
    if who.role != "admin" and row.owner_id != (who.user_id or who.actor):
        raise ForbiddenError("Only its owner or an administrator may do that.", code="not_owner")
    if await repository.used(dataset_id):
        raise ConflictError("evaluations were made on it", code="in_use")
    await work.delete(row)
    await audit.tell(work, state, who, "dataset.delete", dataset_id, name=row.name)


def _bad_variable(name: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"variable {name} {what}", argument=f"variables.{name}", http_status=422
    )


def _taken() -> ConflictError:
    return ConflictError("there is one of that name already")


async def _flushed(work: AsyncSession) -> None:
    """Write now, so that a name that two take at once is refused to one."""
    try:
        await work.flush()
    except IntegrityError:
        raise _taken() from None
