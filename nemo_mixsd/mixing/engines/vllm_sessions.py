"""Which prefixes vLLM holds for us: one session a stream, kept between segments, given up when room is needed.

A session is a vLLM request that is not over when its tokens are (a *resumable* request): the keys and values of all
that it has seen stay where they are, and the next segment of the same conditional hands over only the tokens that the
other conditional has decoded meanwhile. Nothing is computed twice, whatever the block size of the prefix cache. A
session that is given up leaves its full blocks in the prefix cache, so that this costs little and changes no token.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from nemo_mixsd.mixing.engines.base import SegmentRequest


@dataclass(slots=True)
class Session:
    """One vLLM request.

    Attributes:
        id: vLLM's name for it.
        example_id: Whose conditional it is.
        request: The segment it works on; None while it is idle.
        known: Ids whose keys and values it holds when it is idle. The last decoded token is not among them: vLLM
            computes a token only when it is fed back.
        out: Tokens of the current segment so far.
    """

    id: str
    example_id: str
    request: SegmentRequest | None = None
    known: list[int] = field(default_factory=list)
    out: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """How many tokens of cache it occupies."""
        return len(self.request.prompt_ids) + len(self.out) if self.request is not None else len(self.known)


class SessionTable:
    """All sessions, by stream. Pure bookkeeping: says what to open, continue and give up, and calls nobody."""

    def __init__(self, slots: int, capacity: int | None) -> None:
        """Nothing is open at first.

        Args:
            slots: Most sessions at once, idle ones included: an idle one keeps its place in vLLM's batch.
            capacity: Tokens that the key-value cache holds, or None if that is unknown.
        """
        self.slots = slots
        self.capacity = capacity
        self._by_stream: OrderedDict[str, Session] = OrderedDict()  # least recently used first
        self._by_id: dict[str, tuple[str, Session]] = {}
        self._by_example: dict[str, set[str]] = {}
        self._busy = 0
        self._count = 0

    def __len__(self) -> int:
        return len(self._by_stream)

    @property
    def busy(self) -> int:
        """Sessions that work on a segment."""
        return self._busy

    def is_busy(self, stream: str) -> bool:
        """Whether the stream's session works on a segment."""
        session = self._by_stream.get(stream)
        return session is not None and session.request is not None

    def get(self, session_id: str) -> Session | None:
        """The session of that vLLM id, if it is still ours."""
        entry = self._by_id.get(session_id)
        return None if entry is None else entry[1]

    def requests(self) -> list[SegmentRequest]:
        """All segments being worked on."""
        return [s.request for s in self._by_stream.values() if s.request is not None]

    def streams(self, example_id: str) -> list[str]:
        """Streams of an example that have a session."""
        return sorted(self._by_example.get(example_id, ()))

    def resume(self, request: SegmentRequest) -> tuple[Session, list[int]] | None:
        """The idle session that holds a proper prefix of the prompt, and the ids to add to it, if there is one."""
        session = self._by_stream.get(request.stream)
        if session is None or session.request is not None:
            return None
        known = len(session.known)
        if known >= len(request.prompt_ids) or list(request.prompt_ids[:known]) != session.known:
            return None
        self._start(session, request)
        return session, list(request.prompt_ids[known:])

    def open(self, request: SegmentRequest) -> Session:
        """A new session for the request's stream; there must be a free slot and none of that stream."""
        assert len(self) < self.slots and request.stream not in self._by_stream
        self._count += 1
        session = Session(f"mixsd-{self._count}", request.example_id)
        self._by_stream[request.stream] = session
        self._by_id[session.id] = (request.stream, session)
        self._by_example.setdefault(request.example_id, set()).add(request.stream)
        self._start(session, request)
        return session

    def _start(self, session: Session, request: SegmentRequest) -> None:
        session.request, session.known, session.out = request, [], []
        self._by_stream.move_to_end(request.stream)
        self._busy += 1

    def finish(self, session: Session) -> None:
        """The session's segment is complete: it is idle now."""
        request = session.request
        assert request is not None
        session.known = [*request.prompt_ids, *session.out[:-1]]
        session.request, session.out = None, []
        self._busy -= 1

    def close(self, stream: str) -> str | None:
        """Forget an idle session; its vLLM id, or None if the stream has none."""
        session = self._by_stream.get(stream)
        if session is None or session.request is not None:
            return None
        self._forget(stream, session)
        return session.id

    def drop(self, session: Session) -> None:
        """Forget a session in whatever state: vLLM has ended it."""
        if session.request is not None:
            self._busy -= 1
        self._forget(self._by_id[session.id][0], session)

    def _forget(self, stream: str, session: Session) -> None:
        del self._by_stream[stream]
        del self._by_id[session.id]
        streams = self._by_example[session.example_id]
        streams.discard(stream)
        if not streams:
            del self._by_example[session.example_id]

    def close_idle(self) -> list[str]:
        """Give up every idle session; their vLLM ids."""
        return [name for stream in list(self._by_stream) if (name := self.close(stream)) is not None]

    def make_room(self, tokens: int, slots: int) -> list[str]:
        """Give up idle sessions, the longest unused first, until so many more slots and tokens are free.

        Running sessions are never given up: vLLM itself puts them off when its cache is full.

        Returns:
            vLLM ids of what is given up. It may not have been enough: see ``len(self)``.
        """
        used = sum(session.tokens for session in self._by_stream.values()) if self.capacity is not None else 0
        closed: list[str] = []
        for stream in list(self._by_stream):
            full = len(self) + slots > self.slots or (self.capacity is not None and used + tokens > self.capacity)
            if not full:
                break
            session = self._by_stream[stream]
            if session.request is None:
                used -= session.tokens
                closed.append(session.id)
                self.close(stream)
        return closed
