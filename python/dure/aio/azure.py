"""`AsyncAzureClient`: the same client on Azure's deployments of OpenAI's models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dure.aio.client import AsyncClient
from dure.calls.settings import View
from dure.calls.wires import Wire
from dure.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dure.calls import Timeout
    from dure.calls.keys import Key
    from dure.costs import PriceBook

__all__ = ["AsyncAzureClient"]


class AsyncAzureClient(AsyncClient):
    """Calls to Azure OpenAI: `model=` is a model of the catalogue, which a deployment serves.

    Policies, budgets and prices know the model; the URL carries the name of its deployment.
    """

    def __init__(
        self,
        *,
        azure_endpoint: str | None = None,
        api_version: str | None = None,
        azure_deployment: str | None = None,
        deployments: Mapping[str, str] | None = None,
        api_key: str | Key | Sequence[str | Key] | None = None,
        azure_ad_token: str | None = None,
        timeout: float | Timeout | None = 600.0,
        max_retries: int = 2,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        proxy: str | None = None,
        data: str | os.PathLike[str] | None = None,
        prices: PriceBook | None = None,
        transport: object = None,
        clock: object = None,
        random: object = None,
    ) -> None:
        """Check the settings; nothing is sent.

        Args:
            azure_endpoint: `https://NAME.openai.azure.com`; else `AZURE_OPENAI_ENDPOINT`.
            api_version: Else `OPENAI_API_VERSION`.
            azure_deployment: The one deployment that serves every model.
            deployments: Which deployment serves which model; else the one of the model's name.
            api_key: Else `AZURE_OPENAI_API_KEY`.
            azure_ad_token: Of Entra ID, in place of a key; else `AZURE_OPENAI_AD_TOKEN`.
            timeout: Seconds for a whole call, or a `Timeout`; None: no limit.
            max_retries: Attempts after the first, unless `dure.Call` says otherwise.
            default_headers: Sent with every request.
            default_query: Added to every URL.
            proxy: URL; else what the environment says.
            data: Data folder; else `DURE_DATA`, else the user's.
            prices: What calls are held and settled at; else the shipped prices.
            transport: A native handle of `dure.testing`; or `"a"` or `"b"`, which forces an engine.
            clock: A native handle of `dure.testing`.
            random: A native handle of `dure.testing`.

        Raises:
            InvalidArgumentError: no endpoint, no version, no key, a bad URL or number.
            StorageError: the data folder cannot be written.
        """
        known = os.environ
        address = azure_endpoint or known.get("AZURE_OPENAI_ENDPOINT")
        version = api_version or known.get("OPENAI_API_VERSION")
        for argument, value, variable in (
            ("azure_endpoint", address, "AZURE_OPENAI_ENDPOINT"),
            ("api_version", version, "OPENAI_API_VERSION"),
        ):
            if not value:
                raise InvalidArgumentError(
                    f"no {argument}: pass {argument}= or set {variable}", argument=argument
                )
        keyless = api_key is None and not known.get("AZURE_OPENAI_API_KEY")
        token = azure_ad_token or (known.get("AZURE_OPENAI_AD_TOKEN") if keyless else None)
        wire = Wire(
            "azure",
            "AZURE_OPENAI_API_KEY",
            bearer=token is not None,
            deployments={
                **(deployments or {}),
                **({"*": azure_deployment} if azure_deployment else {}),
            },
        )
        self._join(
            View.open(
                api_key=token or api_key,
                base_url=f"{str(address).rstrip('/')}/openai",
                organization=None,
                project=None,
                timeout=timeout,
                max_retries=max_retries,
                default_headers=default_headers,
                default_query={"api-version": version, **(default_query or {})},
                proxy=proxy,
                data=data,
                prices=prices,
                transport=transport,
                clock=clock,
                random=random,
                wire=wire,
            )
        )
