"""Two real CalDAV servers that disagree where the standard leaves room, and a raw client.

The client is a few lines of HTTP on purpose: tests of a CalDAV library must not put their
events there with the same library.
"""

from testbed.caldav.client import Collection, event
from testbed.caldav.servers import Radicale, Xandikos, find

__all__ = ["Collection", "Radicale", "Xandikos", "event", "find"]
