"""Every table of the service, as ORM rows. Nothing here is lazy: what is not loaded raises."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dure.db.base import Base, Json

__all__ = [
    "ApiKey",
    "ApprovalRequestModel",
    "AuditCheckpointModel",
    "AuditLogModel",
    "ChannelModel",
    "ContentLogModel",
    "DeliveryModel",
    "DocumentModel",
    "FileModel",
    "IdentityModel",
    "JobModel",
    "LeaseModel",
    "LlmCallModel",
    "MembershipModel",
    "NotificationRuleModel",
    "OpenCallModel",
    "OrgModel",
    "OrgTokenPoolModel",
    "PostedBudgetModel",
    "PostedLedgerModel",
    "PromptDatasetModel",
    "PromptEvaluationModel",
    "PromptLabelModel",
    "PromptLabelMoveModel",
    "PromptScoreModel",
    "PromptTemplateModel",
    "PromptVersionModel",
    "ProviderKeyModel",
    "ProviderObjectModel",
    "RefreshTokenModel",
    "ReportModel",
    "TokenUsageAlertModel",
    "UsageAnomalyModel",
    "UsageDailyModel",
    "UsageQuarterModel",
    "UsageStatisticsModel",
    "UserModel",
    "UserTokenLimitModel",
]

_ID = String(64)
_NAME = String(255)


# Who (revision 0001) -----------------------------------------------------------------------------


class OrgModel(Base):
    """A tenant."""

    __tablename__ = "orgs"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    name: Mapped[str]
    zone: Mapped[str] = mapped_column(String(64))
    log_content: Mapped[str] = mapped_column(String(16))  # off | metadata | full
    created_at: Mapped[datetime]


class UserModel(Base):
    """A person; `operator` runs the whole installation."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    email: Mapped[str | None]
    name: Mapped[str]
    password_hash: Mapped[str | None]
    zone: Mapped[str] = mapped_column(String(64))
    operator: Mapped[bool]
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class IdentityModel(Base):
    """How a person is known to an issuer; an e-mail address never links two."""

    __tablename__ = "identities"

    issuer: Mapped[str] = mapped_column(_NAME, primary_key=True)
    subject: Mapped[str] = mapped_column(_NAME, primary_key=True)
    user_id: Mapped[str] = mapped_column(_ID, ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime]


class MembershipModel(Base):
    """A person's role in a tenant."""

    __tablename__ = "memberships"

    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(_ID, ForeignKey("users.id"), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]


class RefreshTokenModel(Base):
    """A login: one family of refresh tokens, of which the newest counts."""

    __tablename__ = "refresh_tokens"

    family: Mapped[str] = mapped_column(_ID, primary_key=True)
    user_id: Mapped[str] = mapped_column(_ID, ForeignKey("users.id"), index=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    counter: Mapped[int]
    rotated_at: Mapped[datetime]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class ApiKey(Base):
    """A secret a program sends; only its HMAC is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    owner_id: Mapped[str] = mapped_column(_ID, ForeignKey("users.id"), index=True)
    name: Mapped[str]
    mac: Mapped[str] = mapped_column(String(64))
    service_account: Mapped[bool]
    role: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[list[str]]
    models: Mapped[list[str]]
    addresses: Mapped[list[str]]
    rate: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class AuditLogModel(Base):
    """What was done, by whom: append-only, each row sealed with the one before it."""

    __tablename__ = "audit_log"

    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str]
    detail: Mapped[dict[str, Any]]
    mac: Mapped[str] = mapped_column(String(64))


class LeaseModel(Base):
    """Who does a periodic job now, in the whole fleet."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(_ID, primary_key=True)
    holder: Mapped[str] = mapped_column(_ID)
    until: Mapped[datetime]


# What was spent, what may be (revision 0002) -----------------------------------------------------


class PostedLedgerModel(Base):
    """How far a process's ledger file was taken over."""

    __tablename__ = "posted_ledgers"

    host: Mapped[str] = mapped_column(_ID, primary_key=True)  # whose data folder
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    records: Mapped[int]
    bytes: Mapped[int]


class PostedBudgetModel(Base):
    """What a ledger's number of a budget means."""

    __tablename__ = "posted_budgets"

    host: Mapped[str] = mapped_column(_ID, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    scope: Mapped[str]
    unit: Mapped[str] = mapped_column(String(16))
    maximum: Mapped[int]


class OpenCallModel(Base):
    """What a hold said, until it ends."""

    __tablename__ = "open_calls"

    host: Mapped[str] = mapped_column(_ID, primary_key=True)  # whose data folder
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hold: Mapped[dict[str, Any]]


class LlmCallModel(Base):
    """One attempt as it ended, or a correction of one; money in pico-dollars."""

    __tablename__ = "llm_calls"
    __table_args__ = (
        Index("ix_llm_calls_hold", "host", "hold_epoch", "hold_seq"),
        Index("ix_llm_calls_org_id_reserved_us", "org_id", "reserved_us"),
        Index("ix_llm_calls_user_id_reserved_us", "user_id", "reserved_us"),
        Index("ix_llm_calls_org_id_conversation", "org_id", "conversation"),
    )

    host: Mapped[str] = mapped_column(_ID, primary_key=True)  # whose data folder
    epoch: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hold_epoch: Mapped[int]
    hold_seq: Mapped[int]
    type: Mapped[str] = mapped_column(String(16))
    reserved_us: Mapped[int]
    done_us: Mapped[int]
    call_id: Mapped[str]
    attempt: Mapped[int] = mapped_column(Integer)
    org_id: Mapped[str] = mapped_column(_NAME)  # kept when the tenant or the person is gone
    user_id: Mapped[str] = mapped_column(_NAME)
    api_key_id: Mapped[str] = mapped_column(_NAME)
    model: Mapped[str]
    service: Mapped[str]
    conversation: Mapped[str]
    scopes: Mapped[list[str]]
    units: Mapped[dict[str, Any]]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    tokens: Mapped[int]
    cost_pico: Mapped[int]
    price_version: Mapped[str] = mapped_column(String(64))
    flags: Mapped[list[str]]


class _Sums:
    """Sums by time and name: integers, so that any grouping adds up exactly."""

    start_us: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    org_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    user_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    api_key_id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    model: Mapped[str] = mapped_column(_NAME, primary_key=True)
    service: Mapped[str] = mapped_column(_NAME, primary_key=True)
    calls: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    tokens: Mapped[int]
    nano: Mapped[int]
    pico_rem: Mapped[int]


class UsageQuarterModel(_Sums, Base):
    """Sums by quarter of an hour, UTC: the truth of the other two."""

    __tablename__ = "usage_quarters"


class UsageStatisticsModel(_Sums, Base):
    """Sums by local hour of the tenant."""

    __tablename__ = "usage_statistics"
    __table_args__ = (Index("ix_usage_statistics_org_id_start_us", "org_id", "start_us"),)


class UsageDailyModel(_Sums, Base):
    """Sums by local day of the tenant; weeks and months add them up."""

    __tablename__ = "usage_daily"
    __table_args__ = (
        Index("ix_usage_daily_org_id_start_us", "org_id", "start_us"),
        Index("ix_usage_daily_org_id_user_id_start_us", "org_id", "user_id", "start_us"),
    )


class UserTokenLimitModel(Base):
    """A person's monthly maximum in a tenant; `user_id` `*`: the tenant's default."""

    __tablename__ = "user_token_limits"

    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    max_tokens: Mapped[int]
    policy: Mapped[str] = mapped_column(String(16))  # block | warn | approval
    alerts: Mapped[list[int]] = mapped_column(Json)
    updated_by: Mapped[str] = mapped_column(_ID)
    updated_at: Mapped[datetime]


class OrgTokenPoolModel(Base):
    """A tenant's shared monthly maximum."""

    __tablename__ = "org_token_pools"

    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), primary_key=True)
    max_tokens: Mapped[int]
    policy: Mapped[str] = mapped_column(String(16))
    alerts: Mapped[list[int]] = mapped_column(Json)
    updated_by: Mapped[str] = mapped_column(_ID)
    updated_at: Mapped[datetime]


class TokenUsageAlertModel(Base):
    """A threshold that was crossed: once per scope, window and percentage."""

    __tablename__ = "token_usage_alerts"
    __table_args__ = (
        UniqueConstraint("org_id", "scope", "window_start_us", "percent"),
        Index("ix_token_usage_alerts_org_id_at_us", "org_id", "at_us"),
        Index("ix_token_usage_alerts_told_at", "told_at"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    scope: Mapped[str]
    window_start_us: Mapped[int]
    percent: Mapped[int] = mapped_column(Integer)
    used: Mapped[int]
    maximum: Mapped[int]
    at_us: Mapped[int]
    told_at: Mapped[datetime | None]  # None: nobody was notified yet


class ApprovalRequestModel(Base):
    """An over-limit request that waits for an administrator, or what was decided."""

    __tablename__ = "approval_requests"
    __table_args__ = (
        UniqueConstraint("org_id", "scope", "window_start_us", "round"),
        Index("ix_approval_requests_org_id_state", "org_id", "state"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    user_id: Mapped[str] = mapped_column(_ID)
    scope: Mapped[str]
    window_start_us: Mapped[int]
    round: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))  # pending | granted | refused | expired
    amount: Mapped[int | None]
    until: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(_ID)
    decided_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class ReportModel(Base):
    """A report as it was made, once per kind and window."""

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("org_id", "kind", "window_start_us"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    window_start_us: Mapped[int]
    content: Mapped[dict[str, Any]]
    created_by: Mapped[str] = mapped_column(_ID)
    created_at: Mapped[datetime]


# What is kept (revision 0003) --------------------------------------------------------------------


class ProviderObjectModel(Base):
    """An id in the provider's account, with the tenant that made it."""

    __tablename__ = "provider_objects"
    __table_args__ = (Index("ix_provider_objects_org_id_kind", "org_id", "kind", "created_at"),)

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    id: Mapped[str] = mapped_column(_NAME, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    owner_id: Mapped[str] = mapped_column(_ID)
    created_at: Mapped[datetime]


class PromptTemplateModel(Base):
    """A prompt with variables; its versions never change."""

    __tablename__ = "prompt_templates"
    __table_args__ = (UniqueConstraint("org_id", "name"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    owner_id: Mapped[str] = mapped_column(_ID)
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16))
    description: Mapped[str] = mapped_column(Text)
    latest: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]


class PromptVersionModel(Base):
    """One version in one language; immutable."""

    __tablename__ = "prompt_versions"

    template_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("prompt_templates.id"), primary_key=True
    )
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    locale: Mapped[str] = mapped_column(String(35), primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    text: Mapped[str] = mapped_column(Text)
    variables: Mapped[list[str]]
    mode: Mapped[str] = mapped_column(String(16), server_default="plain")  # plain | jinja
    parameters: Mapped[dict[str, Any]] = mapped_column(Json, server_default="{}")
    created_by: Mapped[str] = mapped_column(_ID)
    created_at: Mapped[datetime]


class PromptLabelModel(Base):
    """A name that points to a version: production, staging, or your own."""

    __tablename__ = "prompt_labels"

    template_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("prompt_templates.id"), primary_key=True
    )
    label: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    version: Mapped[int] = mapped_column(Integer)
    moved_by: Mapped[str] = mapped_column(_ID)
    moved_at: Mapped[datetime]


# Files, documents, detached work (revision 0010) -------------------------------------------------


class FileModel(Base):
    """A file of a tenant; its bytes lie in the file store under its id."""

    __tablename__ = "files"
    __table_args__ = (Index("ix_files_org_id_created_at", "org_id", "created_at", "id"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    owner_id: Mapped[str] = mapped_column(_ID)
    name: Mapped[str]
    media_type: Mapped[str]
    kind: Mapped[str] = mapped_column(String(32))
    size: Mapped[int]
    received: Mapped[int]
    sha256: Mapped[str | None] = mapped_column(_ID)
    state: Mapped[str] = mapped_column(String(16))  # receiving | ready | failed
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]


class DocumentModel(Base):
    """A document of a tenant's knowledge; its chunks are in the vector store."""

    __tablename__ = "documents"
    __table_args__ = (
        Index("ix_documents_org_id_created_at", "org_id", "created_at", "id"),
        Index("ix_documents_org_id_state_model", "org_id", "state", "model"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    owner_id: Mapped[str] = mapped_column(_ID)
    title: Mapped[str]
    file_id: Mapped[str] = mapped_column(_ID, ForeignKey("files.id"), index=True)
    details: Mapped[dict[str, Any]]
    access: Mapped[list[str]]
    chunk_chars: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))  # pending | indexing | ready | failed
    reason: Mapped[str | None] = mapped_column(Text)
    done: Mapped[int]
    total: Mapped[int]
    model: Mapped[str | None]  # what made the vectors that answer now
    stamp: Mapped[str | None] = mapped_column(_ID)  # of content and cut, as they were indexed
    cost_pico: Mapped[int]
    created_at: Mapped[datetime]
    indexed_at: Mapped[datetime | None]


class JobModel(Base):
    """Work that outlives its request: claimed by one process at a time, taken over if it dies."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_due_at", "state", "due_at"),
        Index("ix_jobs_org_id_kind_target", "org_id", "kind", "target"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    owner_id: Mapped[str] = mapped_column(_ID)
    key_id: Mapped[str | None] = mapped_column(_ID)
    kind: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(_ID)
    state: Mapped[str] = mapped_column(String(16))  # queued | running | done | failed
    attempts: Mapped[int] = mapped_column(Integer)
    due_at: Mapped[datetime]
    holder: Mapped[str | None]
    token: Mapped[int]
    held_until: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


# Prompts on trial (revision 0020) -----------------------------------------------------------------


class PromptLabelMoveModel(Base):
    """Where a label pointed, move by move."""

    __tablename__ = "prompt_label_moves"

    template_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("prompt_templates.id"), primary_key=True
    )
    label: Mapped[str] = mapped_column(_ID, primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    version: Mapped[int] = mapped_column(Integer)
    kind: Mapped[str] = mapped_column(String(16))  # set | back | gone
    moved_by: Mapped[str] = mapped_column(_ID)
    moved_at: Mapped[datetime]


class PromptDatasetModel(Base):
    """Cases to score versions on."""

    __tablename__ = "prompt_datasets"
    __table_args__ = (UniqueConstraint("org_id", "name"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    owner_id: Mapped[str] = mapped_column(_ID)
    name: Mapped[str]
    items: Mapped[list[Any]] = mapped_column(Json)
    count: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]


class PromptEvaluationModel(Base):
    """Versions scored on a data set; its process vouches for it until `lease_until`."""

    __tablename__ = "prompt_evaluations"
    __table_args__ = (
        Index("ix_prompt_evaluations_org_id_dataset_id", "org_id", "dataset_id"),
        Index("ix_prompt_evaluations_template_id_created_at", "template_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    owner_id: Mapped[str] = mapped_column(_ID)
    template_id: Mapped[str] = mapped_column(_ID, ForeignKey("prompt_templates.id"))
    dataset_id: Mapped[str] = mapped_column(_ID, ForeignKey("prompt_datasets.id"), index=True)
    model: Mapped[str]
    locale: Mapped[str] = mapped_column(String(35))
    versions: Mapped[list[Any]] = mapped_column(Json)
    scorers: Mapped[list[Any]] = mapped_column(Json)
    max_cost_pico: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(Text)
    done: Mapped[int] = mapped_column(Integer)
    total: Mapped[int] = mapped_column(Integer)
    cost_pico: Mapped[int]
    summary: Mapped[list[Any]] = mapped_column(Json)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    lease_until: Mapped[datetime]


class PromptScoreModel(Base):
    """One answer of an evaluation, and its scores."""

    __tablename__ = "prompt_scores"

    evaluation_id: Mapped[str] = mapped_column(
        _ID, ForeignKey("prompt_evaluations.id"), primary_key=True
    )
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    item: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    output: Mapped[str] = mapped_column(Text)
    scores: Mapped[dict[str, Any]]
    error: Mapped[str | None] = mapped_column(Text)
    cost_pico: Mapped[int]
    milliseconds: Mapped[int]


# Who is told (revision 0021) ----------------------------------------------------------------------


class ChannelModel(Base):
    """Where notifications go; address and secrets are sealed."""

    __tablename__ = "channels"
    __table_args__ = (UniqueConstraint("org_id", "name"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    owner_id: Mapped[str] = mapped_column(_ID)
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16))  # email | webhook | discord | apprise
    target: Mapped[str]  # what may be shown of it
    sealed: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool]
    created_at: Mapped[datetime]


class NotificationRuleModel(Base):
    """Which channel is told of what."""

    __tablename__ = "notification_rules"
    __table_args__ = (UniqueConstraint("org_id", "event", "channel_id"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    event: Mapped[str] = mapped_column(String(64))
    channel_id: Mapped[str] = mapped_column(_ID, ForeignKey("channels.id"), index=True)
    percent: Mapped[int] = mapped_column(Integer)
    enabled: Mapped[bool]
    created_by: Mapped[str] = mapped_column(_ID)
    created_at: Mapped[datetime]


class DeliveryModel(Base):
    """One message to one channel, tried until it arrives; `next_at` is also its lease."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("channel_id", "event_id"),
        Index("ix_deliveries_org_id_created_at", "org_id", "created_at", "id"),
        Index("ix_deliveries_state_next_at", "state", "next_at"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    channel_id: Mapped[str] = mapped_column(_ID, ForeignKey("channels.id"))
    event_id: Mapped[str] = mapped_column(_NAME)
    event: Mapped[str] = mapped_column(String(64))
    title: Mapped[str]
    body: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))  # pending | sent | failed
    attempts: Mapped[int] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    next_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


# What is odd (revision 0022) ----------------------------------------------------------------------


class UsageAnomalyModel(Base):
    """Usage that is not like a person's own, once per hour or day."""

    __tablename__ = "usage_anomalies"
    __table_args__ = (
        UniqueConstraint("org_id", "user_id", "start_us", "reason"),
        Index("ix_usage_anomalies_org_id_start_us", "org_id", "start_us", "id"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    user_id: Mapped[str]  # kept when the person is gone
    start_us: Mapped[int]
    reason: Mapped[str] = mapped_column(String(16))  # hour | day
    expected: Mapped[int]
    seen: Mapped[int]
    score: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]


# What opens providers (revision 0023) -------------------------------------------------------------


class ProviderKeyModel(Base):
    """A secret that is sent to a provider; sealed."""

    __tablename__ = "provider_keys"
    __table_args__ = (Index("ix_provider_keys_provider_state", "provider", "state"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), index=True)
    owner_id: Mapped[str] = mapped_column(_ID)
    provider: Mapped[str] = mapped_column(String(32))
    name: Mapped[str]
    sealed: Mapped[str] = mapped_column(Text)
    tail: Mapped[str] = mapped_column(String(8))
    state: Mapped[str] = mapped_column(String(16))  # active | draining
    created_at: Mapped[datetime]
    changed_at: Mapped[datetime]


# What is kept for a while (revision 0024) ---------------------------------------------------------


class ContentLogModel(Base):
    """What a model was asked and answered; texts are sealed."""

    __tablename__ = "content_logs"
    __table_args__ = (
        Index("ix_content_logs_org_id_at", "org_id", "at", "id"),
        Index("ix_content_logs_at", "at"),
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"))
    user_id: Mapped[str] = mapped_column(_ID)
    api_key_id: Mapped[str] = mapped_column(_ID)
    at: Mapped[datetime]
    request_id: Mapped[str] = mapped_column(_ID)
    path: Mapped[str]
    model: Mapped[str]
    status: Mapped[int] = mapped_column(Integer)
    milliseconds: Mapped[int]
    input_bytes: Mapped[int]
    output_bytes: Mapped[int]
    input: Mapped[str | None] = mapped_column(Text)
    output: Mapped[str | None] = mapped_column(Text)


class AuditCheckpointModel(Base):
    """Up to where a tenant's audit log was taken off, sealed: its chain goes on from there."""

    __tablename__ = "audit_checkpoints"

    org_id: Mapped[str] = mapped_column(_ID, ForeignKey("orgs.id"), primary_key=True)
    seq: Mapped[int]
    mac: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    seal: Mapped[str] = mapped_column(String(64))
