"""Templates, versions, labels, data sets and evaluations of one tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, delete, func, select, tuple_, type_coerce

from dure.db.repository import ScopedRepository
from dure.db.tables import (
    PromptDatasetModel,
    PromptEvaluationModel,
    PromptLabelModel,
    PromptLabelMoveModel,
    PromptScoreModel,
    PromptTemplateModel,
    PromptVersionModel,
)

__all__ = [
    "DatasetRepository",
    "EvaluationRepository",
    "LabelRepository",
    "TemplateRepository",
    "VersionRepository",
]


class TemplateRepository(ScopedRepository[PromptTemplateModel]):
    """Templates."""

    table = PromptTemplateModel

    async def one(self, template_id: str, *, lock: bool = False) -> PromptTemplateModel | None:
        """Return a template; `lock` keeps others from adding a version meanwhile."""
        query = self.rows().where(PromptTemplateModel.id == template_id)
        return await self.one_or_none(query.with_for_update() if lock else query)

    async def named(self, name: str) -> PromptTemplateModel | None:
        """Return the template of a name."""
        return await self.one_or_none(self.rows().where(PromptTemplateModel.name == name))

    async def page(
        self, limit: int, after: str | None, kind: str | None
    ) -> Sequence[PromptTemplateModel]:
        """Return templates by name, one more than asked for if there are more."""
        query = self.rows().order_by(PromptTemplateModel.name).limit(limit + 1)
        if kind is not None:
            query = query.where(PromptTemplateModel.kind == kind)
        if after is not None:
            query = query.where(PromptTemplateModel.name > after)
        return await self.all(query)

    async def remove(self, row: PromptTemplateModel) -> None:
        """Take a template away with all that is of it."""
        mine = PromptEvaluationModel.template_id == row.id
        evaluations = select(PromptEvaluationModel.id).where(mine)
        scores = delete(PromptScoreModel).where(PromptScoreModel.evaluation_id.in_(evaluations))
        await self._work.execute(scores)
        tables: tuple[Any, ...] = (
            PromptEvaluationModel,
            PromptLabelMoveModel,
            PromptLabelModel,
            PromptVersionModel,
        )
        for table in tables:
            await self._work.execute(delete(table).where(table.template_id == row.id))
        await self._work.delete(row)


class VersionRepository(ScopedRepository[PromptVersionModel]):
    """Versions of one template; a row for each language."""

    table = PromptVersionModel

    async def of(self, template_id: str, version: int) -> Sequence[PromptVersionModel]:
        """Return a version in its languages."""
        return await self.all(
            self.rows()
            .where(
                PromptVersionModel.template_id == template_id,
                PromptVersionModel.version == version,
            )
            .order_by(PromptVersionModel.locale)
        )

    async def numbers(self, template_id: str, limit: int, before: int | None) -> list[int]:
        """Return version numbers, newest first, one more than asked for if there are more."""
        version = PromptVersionModel.version
        query = (
            select(version)
            .where(
                PromptVersionModel.org_id == self._org_id,
                PromptVersionModel.template_id == template_id,
            )
            .group_by(version)
            .order_by(version.desc())
            .limit(limit + 1)
        )
        if before is not None:
            query = query.where(version < before)
        return list(await self._work.scalars(query))

    async def among(self, template_id: str, numbers: list[int]) -> Sequence[PromptVersionModel]:
        """Return the rows of some versions."""
        return await self.all(
            self.rows()
            .where(
                PromptVersionModel.template_id == template_id,
                PromptVersionModel.version.in_(numbers),
            )
            .order_by(PromptVersionModel.version.desc(), PromptVersionModel.locale)
        )


class LabelRepository(ScopedRepository[PromptLabelModel]):
    """Labels, and where each has pointed."""

    table = PromptLabelModel

    async def one(self, template_id: str, label: str) -> PromptLabelModel | None:
        """Return a label."""
        return await self.one_or_none(
            self.rows().where(
                PromptLabelModel.template_id == template_id, PromptLabelModel.label == label
            )
        )

    async def of(self, template_ids: list[str]) -> dict[str, dict[str, int]]:
        """Return the labels of some templates."""
        found: dict[str, dict[str, int]] = {one: {} for one in template_ids}
        query = self.rows().where(PromptLabelModel.template_id.in_(template_ids))
        for row in await self.all(query.order_by(PromptLabelModel.label)):
            found[row.template_id][row.label] = row.version
        return found

    async def moves(self, template_id: str, label: str) -> Sequence[PromptLabelMoveModel]:
        """Return a label's moves, oldest first."""
        query = (
            select(PromptLabelMoveModel)
            .where(
                PromptLabelMoveModel.org_id == self._org_id,
                PromptLabelMoveModel.template_id == template_id,
                PromptLabelMoveModel.label == label,
            )
            .order_by(PromptLabelMoveModel.seq)
        )
        return (await self._work.scalars(query)).all()


class DatasetRepository(ScopedRepository[PromptDatasetModel]):
    """Data sets."""

    table = PromptDatasetModel

    async def one(self, dataset_id: str) -> PromptDatasetModel | None:
        """Return a data set."""
        return await self.one_or_none(self.rows().where(PromptDatasetModel.id == dataset_id))

    async def named(self, name: str) -> PromptDatasetModel | None:
        """Return the data set of a name."""
        return await self.one_or_none(self.rows().where(PromptDatasetModel.name == name))

    async def page(self, limit: int, after: str | None) -> list[Any]:
        """Return (id, name, owner_id, count, created_at) by name, without the items."""
        table = PromptDatasetModel
        query = (
            select(table.id, table.name, table.owner_id, table.count, table.created_at)
            .where(table.org_id == self._org_id)
            .order_by(table.name)
            .limit(limit + 1)
        )
        if after is not None:
            query = query.where(table.name > after)
        return list(await self._work.execute(query))

    async def used(self, dataset_id: str) -> bool:
        """Whether an evaluation was made on it."""
        query = select(func.count()).where(
            PromptEvaluationModel.org_id == self._org_id,
            PromptEvaluationModel.dataset_id == dataset_id,
        )
        return bool(await self._work.scalar(query))


class EvaluationRepository(ScopedRepository[PromptEvaluationModel]):
    """Evaluations and their scores."""

    table = PromptEvaluationModel

    async def one(self, template_id: str, evaluation_id: str) -> PromptEvaluationModel | None:
        """Return an evaluation."""
        return await self.one_or_none(
            self.rows().where(
                PromptEvaluationModel.template_id == template_id,
                PromptEvaluationModel.id == evaluation_id,
            )
        )

    async def page(
        self, template_id: str, limit: int, before: tuple[int, str] | None
    ) -> Sequence[PromptEvaluationModel]:
        """Return evaluations, newest first, one more than asked for if there are more."""
        made = type_coerce(PromptEvaluationModel.created_at, BigInteger)
        order = (made, PromptEvaluationModel.id)
        query = self.rows().where(PromptEvaluationModel.template_id == template_id)
        if before is not None:
            query = query.where(tuple_(*order) < tuple_(*before))
        return await self.all(query.order_by(*(one.desc() for one in order)).limit(limit + 1))

    async def scores(
        self, evaluation_id: str, limit: int, after: tuple[int, int] | None
    ) -> Sequence[PromptScoreModel]:
        """Return answers by version and item, one more than asked for if there are more."""
        order = (PromptScoreModel.version, PromptScoreModel.item)
        query = select(PromptScoreModel).where(
            PromptScoreModel.org_id == self._org_id,
            PromptScoreModel.evaluation_id == evaluation_id,
        )
        if after is not None:
            query = query.where(tuple_(*order) > tuple_(*after))
        return (await self._work.scalars(query.order_by(*order).limit(limit + 1))).all()
