"""One Airflow server under one account: its token, its queue of writes, its errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from slackwater.airflow.answers import (
    REFUSED_FOR,
    is_refused_token,
    read_failure,
    unexpected,
    write_failure,
)
from slackwater.airflow.auth import Auth, Tokens
from slackwater.airflow.client import (
    READ_SECONDS,
    WRITE_SECONDS,
    Answer,
    Call,
    Client,
    NoAnswer,
    login,
)
from slackwater.airflow.lane import Server, Turn, Urgency
from slackwater.core.spec import Ref
from slackwater.core.words import Reason
from slackwater.errors import AirflowError
from slackwater.net import NetError, NetPolicy, check_target
from slackwater.ports import Clock, SecretReader

_CONNECTIONS: Final = 5  # as many as threads

Outcome = Answer | NoAnswer
_Do = Callable[[Callable[[], Outcome]], Awaitable[Outcome]]


class Session:
    """What every question to Airflow and every write goes through.

    Args:
        url: of the server, without `/api/v2`.
        auth: how to get a token.
        ref: the AirflowInstance, for sentences and for the namespace of its secrets.
        secrets: reads what `auth` names.
        clock: the present.
        policy: which addresses may be reached.
    """

    def __init__(
        self,
        url: str,
        auth: Auth,
        ref: Ref,
        *,
        secrets: SecretReader,
        clock: Clock,
        policy: NetPolicy,
    ) -> None:
        self.what = f"Airflow {ref}"
        self.clock = clock
        self._url = url.rstrip("/")
        self._policy = policy
        self._server = Server.join(self._url)
        self._client: Client | None = None
        self._closed = False
        self._tokens = Tokens(
            auth,
            ref.namespace,
            secrets=secrets,
            clock=clock,
            exchange=self._exchange,
            check=self._check_target,
            what=self.what,
        )
        # What the account was denied, and until when it is not asked for again.
        self._denied: dict[str, float] = {}

    async def open(self) -> None:
        """Judge the address and make the client; sends nothing."""
        await self._check_target()
        async with self._server.reading() as turn:  # the package's import takes seconds
            self._client = await turn.do(
                partial(Client, self._url, self._policy, self.clock, _CONNECTIONS)
            )

    async def aclose(self) -> None:
        """Let connections and threads go; calls that run end by themselves, new ones fail."""
        if self._closed:
            return
        self._closed = True
        if self._client is not None:
            self._client.close()
            self._client = None
        self._server.part()

    async def read(self, call: Call, subject: str, *, signed: bool = True) -> Answer:
        """Ask something; reads of one server run side by side.

        Args:
            call: the request.
            subject: what a lack of rights would be about, such as "run train_llm".
            signed: False for what Airflow tells anybody; a token is sent only if that is refused.

        Returns:
            An answer with 2xx, 400, 404, 409, 422 or the like: the asker judges.

        Raises:
            AirflowError: no answer, or one that means the same for every question.
        """
        outcome = await self._ask(self._read_once, call, subject, READ_SECONDS, signed=signed)
        if outcome is NoAnswer.LOST:
            # The server may have closed an idle connection just as we took it up again.
            outcome = await self._ask(self._read_once, call, subject, READ_SECONDS, signed=signed)
        return self._judged(outcome, read_failure)

    def writing(self, urgency: Urgency) -> Turn:
        """A turn in which to `write`: one at a time per server, the most urgent first."""
        return self._server.writing(urgency)

    async def write(self, turn: Turn, call: Call, subject: str) -> Answer:
        """Change something, inside a turn of `writing`. Sent once; repeated only after a login.

        Raises:
            Ambiguous: it may have happened.
            AirflowError: it has not.
        """
        outcome = await self._ask(
            partial(self._within, turn), call, subject, WRITE_SECONDS, signed=True
        )
        return self._judged(outcome, write_failure)

    def unexpected(self, answer: Answer, **gaps: Any) -> AirflowError:
        """The error for an answer that the asker has no use for."""
        return unexpected(answer, what=self.what, **gaps)

    def _judged(self, outcome: Outcome, failure: Callable[..., AirflowError | None]) -> Answer:
        if (error := failure(outcome, self.clock.now(), what=self.what)) is not None:
            raise error
        assert isinstance(outcome, Answer)
        return outcome

    async def _ask(
        self, do: _Do, call: Call, subject: str, seconds: float, *, signed: bool
    ) -> Outcome:
        self._spare(subject)
        client = self._client
        if client is None:
            return NoAnswer.NOT_SENT
        if not signed:
            outcome = await do(partial(client.call, call, None, seconds))
            if not _wants_token(outcome):
                return outcome
        token = await self._tokens.current()
        outcome = await do(partial(client.call, call, token, seconds))
        if is_refused_token(outcome):
            token = await self._tokens.instead_of(token)
            outcome = await do(partial(client.call, call, token, seconds))
        if _is_denied(outcome):
            self._denied[subject] = self.clock.monotonic() + REFUSED_FOR.total_seconds()
        return outcome

    async def _read_once(self, work: Callable[[], Outcome]) -> Outcome:
        # A turn of its own for each request: a login between two must find a free place.
        async with self._server.reading() as turn:
            return await self._within(turn, work)

    async def _within(self, turn: Turn, work: Callable[[], Outcome]) -> Outcome:
        # Who waited for a place while the session was closed sends nothing any more.
        return NoAnswer.NOT_SENT if self._closed else await turn.do(work)

    def _spare(self, subject: str) -> None:
        """Fail at once what was denied seconds ago."""
        now = self.clock.monotonic()
        self._denied = {about: until for about, until in self._denied.items() if until > now}
        if subject in self._denied:
            left = timedelta(seconds=self._denied[subject] - now)
            raise AirflowError(Reason.FORBIDDEN, retry_after=left, what=self.what)

    async def _exchange(self, credentials: Mapping[str, str]) -> Answer:
        client = self._client
        if client is None:
            raise AirflowError(Reason.UNREACHABLE, what=self.what)
        outcome = await self._read_once(
            partial(client.call, login(credentials), None, READ_SECONDS)
        )
        if isinstance(outcome, Answer) and outcome.status in {401, 403}:
            return outcome
        return self._judged(outcome, read_failure)

    async def _check_target(self) -> None:
        reason: Reason
        try:
            await check_target(self._url, self._policy)
        except NetError as error:
            reason = error.reason
        else:
            return
        raise AirflowError(reason, what=self.what)


def _wants_token(outcome: Outcome) -> bool:
    # A gateway in front may send whom it does not know to a login page.
    if isinstance(outcome, NoAnswer):
        return False
    return outcome.status in {401, 403} or 300 <= outcome.status < 400


def _is_denied(outcome: Outcome) -> bool:
    if isinstance(outcome, NoAnswer):
        return False
    return outcome.status == 403 and not is_refused_token(outcome)


def objects(answer: Answer, name: str) -> list[Any] | None:
    """The list under `name` in a reply, None where it is not there."""
    found = answer.data.get(name) if isinstance(answer.data, dict) else None
    return found if isinstance(found, list) else None
