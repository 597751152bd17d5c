"""Microsoft Entra's token endpoint as an application with credentials of its own sees it.

Discovery, the client credentials grant with a secret, a certificate's assertion (PS256) or a
federated token, and the AADSTS codes of what goes wrong.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

TENANT = "8c2b0c32-7b8e-4a2f-9d5e-0c7a4f6b1d11"
CLIENT = "3f0e6a55-1c1b-4d6a-8f3b-2f1f9d0a7c22"
EXCHANGE = "api://AzureADTokenExchange"


@dataclass
class Federation:
    """A federated credential: whose tokens it trusts."""

    issuer: str
    subject: str
    key: Any
    audience: str = EXCHANGE


@dataclass
class App:
    """One app registration.

    Attributes:
        roles: application permissions with an administrator's consent.
        mailboxes: what RBAC for Applications scopes it to; None for every mailbox.
    """

    secrets: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    certificates: list[x509.Certificate] = field(default_factory=list)
    federations: list[Federation] = field(default_factory=list)
    roles: set[str] = field(default_factory=lambda: {"Calendars.ReadBasic.All"})
    mailboxes: set[str] | None = None


class Refusal(Exception):
    """An answer of the token endpoint that is no token."""

    def __init__(self, code: int, error: str, text: str, status: int = 400) -> None:
        self.code, self.error, self.text, self.status = code, error, text, status
        super().__init__(text)


class FakeEntra:
    """One tenant with its applications.

    Attributes:
        apps: by client id.
        tokens: client id by access token, of those that are good.
        life: of a token, in seconds.
        hold: requests wait for it.
        fail: answers to the next requests, one each.
        token_faults: answers to the next requests for a token.
        token_origin: where discovery says that the token endpoint is; this server by default.
    """

    def __init__(self, resource: str | None = None) -> None:
        self.apps = {CLIENT: App(secrets={"s3cret"})}
        self.tokens: dict[str, str] = {}
        self.tenants = {TENANT, "contoso.example"}
        self.resource = resource
        self.life = 3599
        self.hold: asyncio.Event | None = None
        self.fail: list[Refusal | web.Response] = []
        self.token_faults: list[Refusal | web.Response] = []
        self.token_origin: str | None = None
        self.asked: list[str] = []
        self.assertions: list[str] = []
        self._numbers = count(1)

    def revoke(self) -> None:
        self.tokens.clear()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Everything that is not Graph's."""
        self.asked.append(f"{request.method} {request.path}")
        if self.hold is not None:
            await self.hold.wait()
        try:
            return await self._route(request)
        except Refusal as refusal:
            return web.json_response(
                {
                    "error": refusal.error,
                    "error_description": f"AADSTS{refusal.code}: {refusal.text} Trace ID: 0 "
                    "Correlation ID: 0 Timestamp: 2026-03-20 12:00:00Z",
                    "error_codes": [refusal.code],
                    "timestamp": "2026-03-20 12:00:00Z",
                    "trace_id": "0",
                    "correlation_id": "0",
                },
                status=refusal.status,
            )

    async def _route(self, request: web.Request) -> web.StreamResponse:
        faults = self.token_faults if request.method == "POST" and not self.fail else self.fail
        if faults:
            fault = faults.pop(0)
            if isinstance(fault, Refusal):
                raise fault
            return fault
        tenant, _, rest = request.path.lstrip("/").partition("/")
        if tenant not in self.tenants:
            raise Refusal(90002, "invalid_tenant", f"Tenant '{tenant}' not found.")
        if rest == "v2.0/.well-known/openid-configuration":
            return web.json_response(self._configuration(request, tenant))
        if rest == "oauth2/v2.0/token" and request.method == "POST":
            return web.json_response(self._token(dict(await request.post()), str(request.url)))
        return web.Response(status=404)

    def _configuration(self, request: web.Request, tenant: str) -> dict[str, Any]:
        here = f"{self.token_origin or request.url.origin()}/{tenant}"
        return {
            "token_endpoint": f"{here}/oauth2/v2.0/token",
            "authorization_endpoint": f"{here}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{here}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{here}/discovery/v2.0/keys",
            "issuer": f"{here}/v2.0",
            "response_types_supported": ["code", "id_token", "code id_token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _token(self, form: dict[str, Any], endpoint: str) -> dict[str, Any]:
        if form.get("grant_type") != "client_credentials":
            raise Refusal(70003, "unsupported_grant_type", "The grant type is not supported.")
        client = form.get("client_id", "")
        app = self.apps.get(client)
        if app is None:
            text = f"Application with identifier '{client}' was not found in the directory."
            raise Refusal(700016, "unauthorized_client", text)
        scope = form.get("scope", "")
        resource = scope.removesuffix("/.default")
        if not scope.endswith("/.default") or (self.resource and resource != self.resource):
            raise Refusal(500011, "invalid_resource", f"The resource {resource} was not found.")
        if "client_assertion" in form:
            self.assertions.append(form["client_assertion"])
            self._check_assertion(app, client, form["client_assertion"], endpoint)
        else:
            self._check_secret(app, form.get("client_secret"))
        value = f"c4n4ry-token-{next(self._numbers)}"
        self.tokens[value] = client
        return {"token_type": "Bearer", "expires_in": self.life, "access_token": value}

    def _check_secret(self, app: App, secret: str | None) -> None:
        if secret is None:
            text = "The request body must contain 'client_assertion' or 'client_secret'."
            raise Refusal(7000218, "invalid_client", text, 401)
        if secret in app.expired:
            text = "The provided client secret keys for app are expired."
            raise Refusal(7000222, "invalid_client", text, 401)
        if secret not in app.secrets:
            text = "Invalid client secret provided. Send the secret value, not the secret id."
            raise Refusal(7000215, "invalid_client", text, 401)

    def _check_assertion(self, app: App, client: str, assertion: str, endpoint: str) -> None:
        header = jwt.get_unverified_header(assertion)
        thumbprint = header.get("x5t#S256")
        if thumbprint is None:
            self._check_federation(app, assertion)
            return
        for certificate in app.certificates:
            print_ = base64.urlsafe_b64encode(certificate.fingerprint(SHA256())).decode()
            if print_.rstrip("=") != thumbprint.rstrip("="):
                continue
            if certificate.not_valid_after_utc < datetime.now(UTC):
                text = "Client assertion contains an invalid signature. [Reason - The key used is expired.]"
                raise Refusal(700027, "invalid_client", text, 401)
            claims = jwt.decode(
                assertion, certificate.public_key(), algorithms=["PS256"], audience=endpoint
            )
            assert claims["iss"] == claims["sub"] == client
            return
        text = "The certificate with identifier used to sign the client assertion is not registered on application."
        raise Refusal(700027, "invalid_client", text, 401)

    def _check_federation(self, app: App, assertion: str) -> None:
        for trusted in app.federations:
            try:
                claims = jwt.decode(
                    assertion,
                    trusted.key,
                    algorithms=["RS256"],
                    audience=trusted.audience,
                    issuer=trusted.issuer,
                )
            except jwt.InvalidTokenError:
                continue
            if claims.get("sub") == trusted.subject:
                return
        text = "No matching federated identity record found for presented assertion subject."
        raise Refusal(700213, "invalid_client", text, 401)
