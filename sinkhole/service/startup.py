"""What is answered while the lists of this start are not all there: the modes of ``startup``, and what each comes to.

A name that should be blocked is never let through in silence: each state but :data:`READY` is in the log, in ``sinkhole
status`` with its exit code, and as Extended DNS Error 14 (RFC 8914 4.15) in the answers it touches.
"""

from __future__ import annotations

#: All lists are in force · some source was never had · SERVFAIL for everything · everything is forwarded.
READY, INCOMPLETE, CLOSED, OPEN = "ready", "incomplete", "closed", "open"
SERVE_LAST, FAIL_CLOSED, FORWARD_ALL = "serve-last", "fail-closed", "open"

TEXTS = {
    READY: "all lists are in force",
    INCOMPLETE: "some lists are not there yet",
    CLOSED: "the lists are not ready, so nothing is resolved",
    OPEN: "the lists are not ready, so nothing is blocked",
}
#: EXTRA-TEXT of answers that are touched.
NOTICES = {state: TEXTS[state] for state in (INCOMPLETE, OPEN)}


def state(mode: str, *, bundle: bool, complete: bool, begun: bool) -> str:
    """The state in a mode of ``startup``.

    ``bundle``: there is one that can be used; ``complete``: with a text of every source; ``begun``: the first build of
    this start, feeds fetched, has ended well. Who was ready once goes on as with ``serve-last``.
    """
    if mode == SERVE_LAST:
        return READY if bundle and complete else INCOMPLETE if bundle else CLOSED
    if bundle and complete and begun:
        return READY
    return OPEN if mode == FORWARD_ALL else CLOSED
