"""Google's token endpoint: service accounts, domain-wide delegation, access tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

Json = dict[str, Any]
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE = 3599
AUDIENCE = "https://oauth2.googleapis.com/token"  # wherever it is asked


@lru_cache(maxsize=1)
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem() -> str:
    return (
        _key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def public_pem() -> bytes:
    return (
        _key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@dataclass
class Tokens:
    """Who may have which token.

    Attributes:
        accounts: addresses of the service accounts whose key is valid.
        users: addresses that exist in the domain.
        delegations: scopes that a service account may have in the name of any user.
        issued: (who asks, scopes) by access token.
    """

    accounts: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    delegations: dict[str, set[str]] = field(default_factory=dict)
    issued: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    asked: list[Json] = field(default_factory=list)

    def add_account(self, email: str) -> str:
        """A service account; gives its key file. Its own addresses lead nowhere good."""
        self.accounts.add(email)
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "project",
                "private_key_id": "1",
                "private_key": private_pem(),
                "client_email": email,
                "client_id": "1",
                "auth_uri": "http://169.254.169.254/auth",
                "token_uri": "http://169.254.169.254/token",
                "universe_domain": "evil.invalid",
            }
        )

    def issue(self, who: str, scopes: Iterable[str]) -> str:
        """An access token without asking."""
        token = f"ya29.{len(self.issued):04d}"
        self.issued[token] = (who, frozenset(scopes))
        return token

    def revoke(self) -> None:
        self.issued.clear()

    def answer(self, form: Json) -> tuple[int, Json]:
        """The answer to a token request (RFC 7523)."""
        from google.auth import jwt

        if form.get("grant_type") != GRANT:
            return 400, {"error": "unsupported_grant_type"}
        try:
            claims = jwt.decode(str(form.get("assertion")), certs=public_pem(), audience=AUDIENCE)
        except ValueError:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        self.asked.append(dict(claims))
        assert claims["exp"] <= time.time() + 3700
        scopes = set(str(claims["scope"]).split())
        who = claims["iss"]
        if who not in self.accounts:
            text = "Invalid grant: account not found"
            return 400, {"error": "invalid_grant", "error_description": text}
        if "sub" in claims:
            if not scopes <= self.delegations.get(who, set()):
                text = (
                    "Client is unauthorized to retrieve access tokens using this method, or "
                    "client not authorized for any of the scopes requested."
                )
                return 401, {"error": "unauthorized_client", "error_description": text}
            who = claims["sub"]
            if who not in self.users:
                text = "Invalid email or User ID"
                return 400, {"error": "invalid_grant", "error_description": text}
        token = self.issue(who, scopes)
        return 200, {"access_token": token, "expires_in": LIFE, "token_type": "Bearer"}
