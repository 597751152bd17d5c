"""The words for accounts and applications that a calendar service does not let in.

Part of `words.WORDS`.
"""

from __future__ import annotations

from typing import Final

from slackwater.core.reasons import Reason
from slackwater.core.word import Word

_R = Reason
ACCESS: Final[dict[Reason, Word]] = {
    _R.CREDENTIALS_UNREADABLE: Word(
        "{what}: the Secret that it names holds no {credentials}.",
        "Store the file as it was downloaded, unchanged, under the key that the object names.",
        True,
    ),
    _R.DELEGATION_REFUSED: Word(
        "{what} may not be read in the name of the user that its subject names.",
        "Have an administrator give the service account's client id domain-wide delegation with "
        "the scope that the documentation names, or leave subject out and share the calendar.",
        True,
    ),
    _R.CREDENTIALS_EXPIRED: Word(
        "{what} is read with a client secret or certificate that has expired.",
        "Make a new one in the app registration and store it in the Secret that the object names.",
        True,
    ),
    _R.CERTIFICATE_UNREADABLE: Word(
        "{what} names a Secret that holds no certificate with its private key.",
        "Store both under the key that the object names, as PEM and unencrypted.",
        True,
    ),
    _R.TENANT_NOT_FOUND: Word(
        "{what} names a tenant that does not exist in this cloud.",
        "Correct tenantId, or set authority to the national cloud that the tenant is in.",
        True,
    ),
    _R.APPLICATION_NOT_FOUND: Word(
        "{what} names an application that the tenant does not know.",
        "Correct clientId or tenantId, or have an administrator add the application to the tenant.",
        True,
    ),
    _R.FEDERATION_REFUSED: Word(
        "{what} is read by an application that does not trust the operator's identity.",
        "Give it a federated credential with issuer, subject and audience of the operator's "
        "service account.",
        True,
    ),
    _R.CONSENT_REQUIRED: Word(
        "{what} is read by an application that has no permission to read calendars.",
        "Have an administrator grant the application permission that the documentation names and "
        "consent to it, or assign it a role in Exchange; that takes up to two hours to count.",
        True,
    ),
    _R.API_DISABLED: Word(
        "{what} is read through an API that is disabled in the project of {account}.",
        "Enable the API in the project's console and wait a few minutes.",
        True,
    ),
    _R.NOT_SHARED: Word(
        "{what} has an id that does not exist, or does not show its {content} to {account}.",
        "Correct the id, or share the calendar with that address: with all event details, or at "
        "privacy FreeBusy with free/busy only.",
        True,
    ),
}
