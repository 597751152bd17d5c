"""The fake Airflow's JSON web tokens (HS512, as SimpleAuthManager signs them)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tests.fakes.airflow_bodies import base64_text
from tests.fakes.airflow_rules import Refusal


class Tokens:
    """Gives and checks tokens."""

    def __init__(self, now: Callable[[], datetime], life: timedelta) -> None:
        self.life = life
        self.inner_life: timedelta | None = None  # of Keycloak's token inside of ours
        self._now = now
        self._secret = uuid.uuid4().bytes

    def rotate_secret(self) -> None:
        """Tokens given so far are signed with a secret that is no more."""
        self._secret = uuid.uuid4().bytes

    def login(
        self, body: Any, users: Mapping[str, tuple[str, str]], clients: Mapping[str, str]
    ) -> str:
        """A token for a user and password, or, with Keycloak's auth manager, for a client."""
        if clients and isinstance(body, dict) and body.get("grant_type") == "client_credentials":
            client, secret = body.get("client_id"), body.get("client_secret")
            if not client or clients.get(client) != secret:
                # As the provider says it (0.11.2, keycloak/auth_manager/services/token.py).
                raise Refusal(403, "Client credentials authentication failed")
            return self.give(client)
        if not isinstance(body, dict) or not {"username", "password"} <= body.keys():
            raise Refusal(422, "1 validation error for LoginBody\npassword\n  Field required")
        if not body["username"] or not body["password"]:
            raise Refusal(400, "Username and password must be provided")
        if users.get(body["username"], ("", ""))[0] != body["password"]:
            raise Refusal(401, "Invalid credentials")
        return self.give(body["username"])

    def give(self, user: str) -> str:
        issued = int(self._now().timestamp())
        claims = {
            "sub": user,
            "jti": uuid.uuid4().hex,
            "aud": "apache-airflow",
            "nbf": issued,
            "exp": issued + int(self.life.total_seconds()),
            "iat": issued,
        }
        if self.inner_life is not None:
            end = issued + int(self.inner_life.total_seconds())
            inner = base64_text(json.dumps({"sub": user, "iat": issued, "exp": end}).encode())
            claims["access_token"] = f"e30.{inner}.c2lnbmF0dXJl"
        head = base64_text(json.dumps({"alg": "HS512", "kid": "not-used", "typ": "JWT"}).encode())
        signed = f"{head}.{base64_text(json.dumps(claims).encode())}"
        return f"{signed}.{self._signature(signed)}"

    def user(self, header: str) -> str:
        """Whose token an Authorization header carries."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Refusal(401, "Not authenticated")
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            raise Refusal(403, "Invalid JWT token")
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        if claims["exp"] <= self._now().timestamp():
            raise Refusal(401, "Token Expired")
        if inner := claims.get("access_token"):
            ends = json.loads(base64.urlsafe_b64decode(inner.split(".")[1] + "=="))["exp"]
            if ends <= self._now().timestamp():
                raise Refusal(403, "Forbidden")  # Keycloak answers 401, and Airflow that
        return str(claims["sub"])

    def _signature(self, signed: str) -> str:
        return base64_text(hmac.new(self._secret, signed.encode(), hashlib.sha512).digest())
