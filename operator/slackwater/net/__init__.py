"""HTTP to addresses that users name, guarded: where it may go, how long, how much.

A URL in a resource is a request that somebody else makes from inside the operator's network, so
every address is judged after resolution and again at the socket: a name that resolves to a public
address when it is checked and to loopback when it is used reaches nothing (R14). Deadlines are
total, sizes count after decompression, redirects are judged like the first request and carry no
credentials to another origin.

Errors never hold a URL, a host or a header: the path of a feed is often its password (R13).
"""

from slackwater.net.client import NetError, Reply, check_target, fetch, open_session, retry_after
from slackwater.net.identity import Identities, OperatorIdentity
from slackwater.net.policy import CALENDAR_POLICY, SERVICE_POLICY, Address, NetPolicy, Network

__all__ = [
    "CALENDAR_POLICY",
    "SERVICE_POLICY",
    "Address",
    "Identities",
    "NetError",
    "NetPolicy",
    "Network",
    "OperatorIdentity",
    "Reply",
    "check_target",
    "fetch",
    "open_session",
    "retry_after",
]
