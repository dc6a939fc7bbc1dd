"""The service's settings: arguments, `DURE_*`, `*_FILE`, `.env`, YAML; every fault named at once.

Order, first wins: arguments; environment variables; files named by `DURE_NAME_FILE`; `.env` in the
working folder; the YAML file named by `DURE_SETTINGS`; defaults.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from dure.errors import InvalidArgumentError
from dure.service.keyrings import read_ring
from dure.service.rates import parse_rate

__all__ = ["Issuer", "Settings", "is_loopback"]

Role = Literal["viewer", "user", "admin"]
Asymmetric = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
]
CallUnit = Literal["call", "image", "character", "second", "minute"]
_LIST = NoDecode  # split at commas here, not read as JSON
_MOST_FILE = 1 << 20


class Issuer(BaseModel):
    """Somebody else who says who a caller is: an OIDC provider, or a neighbour's signed tokens.

    Attributes:
        name: Ours, in the address of a browser login.
        issuer: The `iss` that its tokens carry, to the letter.
        audience: The `aud` they must carry; a `legacy` issuer may have none.
        algorithm: The one it signs with; what a token's header says is never followed.
        jwks_url: Where its keys are; None: by discovery below `issuer`.
        public_key: PEM, in the place of a JWKS.
        secret: The shared secret of a `legacy` issuer with HS256, 32 bytes or more.
        kind: `oidc`, or `legacy`: `iss`, `aud` and `iat` may be missing, at most an hour old.
        client_id: Must be its `azp` where a token has one; roles of this client count, too. With it
            people may log in in a browser.
        client_secret: Of a confidential client; None: PKCE alone proves who exchanges a code.
        scopes: What a browser login asks for.
        org: Tenant its users join.
        roles: Its role names -> ours; ours mean themselves.
        default_role: Of a user without any; None lets them in nowhere.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9-]{1,32}$")
    issuer: str = Field(min_length=1, max_length=255)
    audience: str | None = None
    algorithm: Asymmetric | Literal["HS256"] = "RS256"
    jwks_url: str | None = None
    public_key: str | None = None
    secret: SecretStr | None = None
    kind: Literal["oidc", "legacy"] = "oidc"
    client_id: str | None = None
    client_secret: SecretStr | None = None
    scopes: str = Field(default="openid", pattern=r"^openid( [!#-\[\]-~]+)*$")
    org: str = "default"
    roles: dict[str, Role] = {}
    default_role: Role | None = None

    def faults(self) -> list[str]:
        """Return what cannot work."""
        found = []
        at = f"issuer {self.name}"
        if self.kind == "oidc" and self.audience is None:
            found.append(f"{at} has no audience")
        if self.algorithm == "HS256":
            if self.kind != "legacy":
                found.append(f"{at}: HS256 is for a legacy issuer only")
            if self.secret is None or len(self.secret.get_secret_value().encode()) < 32:
                found.append(f"{at} needs a secret of 32 bytes or more for HS256")
        elif self.secret is not None:
            found.append(f"{at} has a secret, which {self.algorithm} does not use")
        for name in ("issuer", "jwks_url"):
            url = getattr(self, name)
            fetched = self.algorithm != "HS256" and self.public_key is None
            if url is not None and (name == "jwks_url" or (fetched and not self.jwks_url)):
                found += [f"{at}: {name} is not https"] if not _safe_url(url) else []
        return found


class Settings(BaseSettings):
    """How the service runs. Immutable; its repr shows no secret.

    Attributes:
        dev: Development preset: API pages without login. Loopback only; skips no login.
        host: Address to bind.
        port: Port to bind; 0 takes a free one.
        data: Data folder: ledger, stores, database.
        database_url: `postgresql://...`; None: `service.db` in the data folder.
        database_schema: PostgreSQL schema of our tables, to share a database with others.
        database_pool: Connections of one process.
        fleet_url: `postgresql://...` or `redis://...`: where several hosts share limits; None: each
            host holds its own.
        fleet_host: This host's name in the fleet, the same after a restart; None: made of the
            machine's and the data folder's.
        auth: `off` skips login, on the loopback interface only.
        api_keys: Secrets of programs, each a user of the tenant `default`.
        secret_key: What all secrets of the service are derived from, 32 characters or more; None:
            made once, in the user's configuration folder.
        encryption_keys: `NAME:BASE64,...`, 32 bytes each: what provider keys and channels are
            sealed with; the first one seals, the others open. None: one derived from `secret_key`.
        smtp_url: `smtp://USER:PASSWORD@HOST:587` (STARTTLS) or `smtps://...`: mail leaves by it.
        smtp_from: Who mail is from.
        egress_allowed: Addresses and CIDR blocks that webhooks may reach though they are not
            public.
        discord_log_url: A webhook of Discord's that is told of errors.
        issuers: Who else may say who a caller is.
        public_url: Where browsers find the service, `https://dure.example.com`; None: where they
            asked, which is right without a proxy only.
        allowed_hosts: Names by which the service may be asked; empty: any, on the loopback
            interface only local ones.
        cors_origins: Pages elsewhere that may call, for example `https://portal.example`.
        trusted_proxies: Addresses whose `X-Forwarded-For` counts.
        chat_model: Model of `/chat` where the request names none. `gpt-4-turbo` is what the
            example of the HTTP interface names; `gpt-4o-mini` answers for 1/50 of its price.
        embed_model: Model of `/embed`.
        policies: File with policies of services.
        call_prices: What calls cost that no price book knows, in dollars by model (`*`: any other)
            and unit: `call`, `image`, `character`, `second`, `minute`. For example
            `{"whisper-1": {"minute": "0.006"}, "batches": {"call": "5"}}`.
        metered: `off`: nothing is priced, held or counted; with `dev` only, for tests of the wire.
        prices: Price file above the shipped prices, as `dure.PriceBook(overlay=)` takes it.
        max_body_bytes: A larger request body gets 413.
        max_file_bytes: A larger file gets 413.
        files: Where files lie: `local` (the data folder), or `s3://BUCKET/PREFIX` with the extra
            `s3` and the credentials that boto3 finds.
        s3_endpoint: Another server than AWS's that speaks S3.
        knowledge_store: `core`, `chroma` or `pgvector`: where chunks and vectors are.
        knowledge_model: What embeds documents; None: `embed_model`; `dure-hash`: the built-in one,
            without a provider.
        local_models: Folders of sentence-transformers models by the name under which
            `knowledge_model` takes them.
        model_device: Where they run: `cpu`, `cuda`, `cuda:1`.
        model_memory_bytes: What they may take there together; None: any.
        pgvector_url: `postgresql://...` with pgvector; None: `database_url`.
        max_header_bytes: Larger headers get 431.
        rate_address: Requests of one address; None: any.
        rate_caller: Requests of one person or key; None: any.
        rate_chat: Requests of one caller to `/chat` and `/chat/stream`.
        access_seconds: How long an access token lives.
        refresh_days: How long a login lives without being used.
        access_log: `-`: JSON lines on stderr; a path; `off`.
        content_log_days: How long contents are kept, where an organisation wants them kept.
        audit_days: How long the audit log is kept; None: for ever.
        drain_seconds: What requests under way have to end once the service is told to stop.
    """

    model_config = SettingsConfigDict(
        env_prefix="DURE_", frozen=True, extra="ignore", env_ignore_empty=True, env_file=".env"
    )

    dev: bool = False
    host: str = "127.0.0.1"
    port: int = 8000
    data: Path | None = None
    database_url: SecretStr | None = None
    database_schema: str | None = None
    database_pool: int = Field(default=5, ge=1, le=100)
    fleet_url: SecretStr | None = None
    fleet_host: str | None = None
    auth: Literal["on", "off"] = "on"
    api_keys: Annotated[tuple[str, ...], _LIST] = Field(default=(), repr=False)
    secret_key: SecretStr | None = None
    encryption_keys: SecretStr | None = None
    smtp_url: SecretStr | None = None
    smtp_from: str = "dure@localhost"
    egress_allowed: Annotated[tuple[str, ...], _LIST] = ()
    discord_log_url: SecretStr | None = None
    issuers: tuple[Issuer, ...] = ()
    public_url: str | None = None
    allowed_hosts: Annotated[tuple[str, ...], _LIST] = ()
    cors_origins: Annotated[tuple[str, ...], _LIST] = ()
    trusted_proxies: Annotated[tuple[str, ...], _LIST] = ()
    chat_model: str = "gpt-4-turbo"
    embed_model: str = "text-embedding-ada-002"
    policies: Path | None = None
    call_prices: dict[str, dict[CallUnit, Decimal]] = {}
    metered: Literal["on", "off"] = "on"
    prices: Path | None = None
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    max_file_bytes: int = Field(default=100_000_000, ge=1024)
    files: str = "local"
    s3_endpoint: str | None = None
    knowledge_store: Literal["core", "chroma", "pgvector"] = "core"
    knowledge_model: str | None = None
    local_models: dict[str, Path] = {}
    model_device: str = "cpu"
    model_memory_bytes: int | None = Field(default=None, ge=1)
    pgvector_url: SecretStr | None = None
    max_header_bytes: int = Field(default=32 * 1024, ge=1024)
    rate_address: str | None = None
    rate_caller: str | None = None
    rate_chat: str | None = "10/minute"
    access_seconds: int = Field(default=900, ge=60, le=86_400)
    refresh_days: int = Field(default=30, ge=1, le=365)
    access_log: str = "-"
    content_log_days: int = Field(default=30, ge=1, le=3650)
    audit_days: int | None = Field(default=None, ge=30, le=36_500)
    drain_seconds: int = Field(default=30, ge=0, le=3600)

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - each has its own type
        """Read and check everything.

        Raises:
            InvalidArgumentError: naming all that is wrong, and no secret.
        """
        try:
            super().__init__(**given)
        except ValidationError as wrong:
            raise InvalidArgumentError("; ".join(_told(wrong)), argument="settings") from None
        except SettingsError as wrong:  # a value that should be JSON; its text names the field only
            raise InvalidArgumentError(str(wrong), argument="settings") from None
        faults = self._faults()
        if faults:
            raise InvalidArgumentError("; ".join(faults), argument="settings")

    @classmethod
    def settings_customise_sources(  # noqa: D102 - pydantic-settings'
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del file_secret_settings
        files, yaml = _Files(settings_cls), _Yaml(settings_cls)
        return init_settings, env_settings, files, dotenv_settings, yaml

    @field_validator(
        "api_keys", "allowed_hosts", "cors_origins", "trusted_proxies", "egress_allowed",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(filter(None, (part.strip() for part in value.split(","))))

    def _faults(self) -> list[str]:
        faults = self._faulty_texts() + self._faulty_issuers() + self._faulty_places()
        if not 0 <= self.port <= 65535:
            faults.append(f"port {self.port} is not from 0 to 65535")
        secret = self.secret_key
        if secret is not None and len(secret.get_secret_value()) < 32:
            faults.append("DURE_SECRET_KEY has less than 32 characters")
        for name in ("rate_address", "rate_caller", "rate_chat"):
            text = getattr(self, name)
            if text is not None and parse_rate(text) is None:
                faults.append(f'{name} {text!a} is no rate like "10/minute"')
        if self.public_url is not None and not _is_origin(self.public_url):
            faults.append("public_url is https://NAME[:PORT], or http:// on the loopback interface")
        if "*" in self.cors_origins:
            faults.append("cors_origins names origins, never *: cookies travel with them")
        for address in self.trusted_proxies:
            if not _is_network(address):
                faults.append(f"trusted proxy {address!a} is no address")
        faults += self._faulty_channels()
        if not is_loopback(self.host):
            if self.dev:
                faults.append(f"--dev is for the loopback interface only, not for {self.host}")
            if self.auth == "off":
                faults.append(f"DURE_AUTH=off is for the loopback interface only: not {self.host}")
        return faults

    def _faulty_places(self) -> list[str]:
        """Return what is wrong with where things lie and what they cost."""
        faults = []
        if self.files != "local" and not re.fullmatch(
            r"s3://[a-z0-9.-]{3,63}(/[^ ]*)?", self.files
        ):
            faults.append(f"files {self.files!a} is neither local nor s3://BUCKET/PREFIX")
        faults += [
            f"the local model {name!a} is no folder"
            for name, folder in self.local_models.items()
            if not folder.is_dir()
        ]
        database = self.pgvector_url or self.database_url
        if self.knowledge_store == "pgvector" and (
            database is None or not database.get_secret_value().startswith("postgres")
        ):
            faults.append("knowledge_store=pgvector needs DURE_PGVECTOR_URL")
        if self.metered == "off" and not self.dev:
            faults.append("DURE_METERED=off is for --dev only: nothing would be paid for")
        for model, prices in self.call_prices.items():
            if not prices or not all(0 <= one < 1000000 for one in prices.values()):
                faults.append(f"the price of {model!a} is no number of dollars from 0 up")
        return faults

    def _faulty_channels(self) -> list[str]:
        faults = [
            f"egress_allowed {address!a} is no address"
            for address in self.egress_allowed
            if not _is_network(address)
        ]
        for name, schemes in (("smtp_url", ("smtp", "smtps")), ("discord_log_url", ("https",))):
            value = getattr(self, name)
            if value is not None and not _has_host(value.get_secret_value(), schemes):
                faults.append(f"{name} is no address that begins with {schemes[0]}://")
        if self.encryption_keys is not None:
            try:
                read_ring(self.encryption_keys.get_secret_value())
            except InvalidArgumentError as wrong:
                faults.append(str(wrong))
        return faults

    def _faulty_issuers(self) -> list[str]:
        faults = [fault for issuer in self.issuers for fault in issuer.faults()]
        faults += [
            f"two issuers have one {attribute}"
            for attribute in ("name", "issuer")
            if len({getattr(one, attribute) for one in self.issuers}) != len(self.issuers)
        ]
        return faults

    def _faulty_texts(self) -> list[str]:
        faults = []
        if any(len(key) < 16 for key in self.api_keys):
            faults.append("DURE_API_KEYS holds a key of less than 16 characters")
        if not all("!" <= sign <= "~" for key in self.api_keys for sign in key):
            faults.append(
                "DURE_API_KEYS holds a key with a space or a character beyond visible ASCII: no "
                "header can carry it"
            )
        for name in ("host", "chat_model", "embed_model"):
            value = getattr(self, name)
            if not value.isascii() or not value.isprintable() or not value:
                faults.append(f"{name} {value!a} holds what no such name can")
        return faults

    def to_environment(self) -> dict[str, str]:
        """Return what a worker reads back; secrets stay where they are."""
        found = {
            "DURE_DEV": "1" if self.dev else "0",
            "DURE_HOST": self.host,
            "DURE_PORT": str(self.port),
        }
        return found | ({"DURE_DATA": str(self.data)} if self.data else {})


class _Files(PydanticBaseSettingsSource):
    """Reads what `DURE_NAME_FILE` names, as containers hand secrets over."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401
        """Return the text of the file, if one is named."""
        del field
        path = os.environ.get(f"DURE_{field_name.upper()}_FILE")
        return (_text_of(Path(path)).strip() if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return what the files say."""
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found


class _Yaml(PydanticBaseSettingsSource):
    """Reads the YAML file that `DURE_SETTINGS` names."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401
        """Not used: the file is read as a whole."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the mapping of the file.

        Raises:
            InvalidArgumentError: it is no mapping, or has names that are no settings.
        """
        path = os.environ.get("DURE_SETTINGS")
        if not path:
            return {}
        import yaml

        text = _text_of(Path(path))
        try:
            if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
                raise InvalidArgumentError(f"{path}: aliases are not taken", argument="settings")
            found = yaml.safe_load(text)
        except yaml.YAMLError as wrong:
            where = getattr(wrong, "problem_mark", None)
            line = f" line {where.line + 1}" if where else ""
            raise InvalidArgumentError(f"{path}{line} is no YAML", argument="settings") from None
        if not isinstance(found, Mapping):
            raise InvalidArgumentError(f"{path} is no mapping of settings", argument="settings")
        unknown = sorted(set(map(str, found)) - set(self.settings_cls.model_fields))
        if unknown:
            raise InvalidArgumentError(
                f"{path} has no settings {', '.join(unknown)}", argument="settings"
            )
        return dict(found)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_FILE:
            raise InvalidArgumentError(f"{path} is larger than 1 MiB", argument="settings")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidArgumentError(f"{path} cannot be read", argument="settings") from None


def _told(wrong: ValidationError) -> list[str]:
    """Return one line per fault; what was given is not repeated, it may be a secret."""
    return [
        f"DURE_{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}"
        for one in wrong.errors(include_input=False, include_url=False)
    ]


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _has_host(url: str, schemes: tuple[str, ...]) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _safe_url(url: str) -> bool:
    """Whether keys may come from there: https, or this machine itself."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def _is_origin(url: str) -> bool:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return _safe_url(url) and not (parts.path or parts.query or parts.fragment or parts.username)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
