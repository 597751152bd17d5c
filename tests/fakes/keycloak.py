"""As much of a Keycloak server as Airflow's own Keycloak auth manager asks of one.

Discovery, the token endpoint (password, client credentials, and the authorization services' UMA
grant by which each request to Airflow is decided) and userinfo. The forms are those of Keycloak's
documentation: "Securing applications", OpenID Connect endpoints; "Authorization services",
obtaining permissions.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

REALM = "airflow"
CLIENT = "airflow-client"
SECRET = "ebb & flow=1"  # characters that a form must escape
_UMA = "urn:ietf:params:oauth:grant-type:uma-ticket"


@dataclass
class Keycloak:
    """One realm with one confidential client, and users whose password is their name.

    `permissions` are what Airflow asked about, as (resource, scope); `may_write` answers for the
    client's service account; `life` is the access token's, in seconds.
    """

    address: str = ""
    life: int = 300
    may_write: bool = True
    users: frozenset[str] = frozenset({"admin"})
    permissions: set[tuple[str, str]] = field(default_factory=set)
    grants: list[str] = field(default_factory=list)
    _live: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """Airflow's options that name this server."""
        section = {
            "server_url": self.address,
            "realm": REALM,
            "client_id": CLIENT,
            "client_secret": SECRET,
        }
        return {f"keycloak_auth_manager.{name}": value for name, value in section.items()}

    def expire(self) -> None:
        """All access tokens are over."""
        self._live.clear()

    def answer(self, method: str, path: str, form: dict[str, str], bearer: str) -> tuple[int, Any]:
        """One request: status and JSON."""
        endpoint = path.removeprefix(f"/realms/{REALM}/").partition("?")[0]
        issuer = f"{self.address}/realms/{REALM}"
        match method, endpoint:
            case "GET", ".well-known/openid-configuration":
                base = f"{issuer}/protocol/openid-connect"
                return 200, {
                    "issuer": issuer,
                    "token_endpoint": f"{base}/token",
                    "userinfo_endpoint": f"{base}/userinfo",
                }
            case "GET", "protocol/openid-connect/userinfo" if bearer in self._live:
                who = self._live[bearer]
                return 200, {"sub": who, "preferred_username": who}
            case "GET", "protocol/openid-connect/userinfo":
                return 401, {"error": "invalid_token"}
            case "POST", "protocol/openid-connect/token":
                return self._token(form, bearer)
        return 404, {"error": "Unable to find matching target resource method"}

    def _token(self, form: dict[str, str], bearer: str) -> tuple[int, Any]:
        grant = form.get("grant_type", "")
        if grant == _UMA:
            return self._decide(form, bearer)
        self.grants.append(grant)
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            return 401, {
                "error": "unauthorized_client",
                "error_description": "Invalid client or Invalid client credentials",
            }
        if grant == "client_credentials":
            return 200, self._issue(f"service-account-{CLIENT}")
        if form.get("username") in self.users and form.get("password") == form.get("username"):
            return 200, self._issue(form["username"]) | {"refresh_token": uuid.uuid4().hex}
        return 401, {"error": "invalid_grant", "error_description": "Invalid user credentials"}

    def _decide(self, form: dict[str, str], bearer: str) -> tuple[int, Any]:
        if bearer not in self._live:
            return 401, {"error": "invalid_grant", "error_description": "Invalid bearer token"}
        resource, _, scope = form["permission"].partition("#")
        ours = self._live[bearer].startswith("service-account-")
        if ours:
            self.permissions.add((resource, scope))
        if ours and not self.may_write and scope not in {"GET", "LIST"}:
            return 403, {"error": "access_denied", "error_description": "not_authorized"}
        return 200, {"upgraded": False, "access_token": "rpt", "token_type": "Bearer"}

    def _issue(self, who: str) -> dict[str, Any]:
        now = int(time.time())
        claims = {"sub": who, "iat": now, "exp": now + self.life, "jti": uuid.uuid4().hex}
        token = f"{_part({'alg': 'RS256'})}.{_part(claims)}.{'c2lnbmF0dXJl'}"
        self._live[token] = who
        return {"access_token": token, "expires_in": self.life, "token_type": "Bearer"}


def _part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@contextmanager
def serving() -> Iterator[Keycloak]:
    """A server on loopback, in a thread of its own, as a real Airflow asks it."""
    keycloak = Keycloak()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            form = {
                name: words[-1]
                for name, words in parse_qs(self.rfile.read(length).decode()).items()
            }
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, body = keycloak.answer(self.command, self.path, form, bearer)
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    keycloak.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield keycloak
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
