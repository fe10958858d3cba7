"""Any order of sessions, forks, truncations, replies and interruptions gives a text its logits."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgelm.engine import Engine
from edgelm.errors import CacheFullError, ContextFullError
from edgelm.generate import Reply, Stream
from edgelm.options import Options
from edgelm.session import Session, decode_batch
from fake_network import FakeNetwork

# Few different ids, so that beginnings are often shared.
IDS = st.lists(st.integers(1, 3), min_size=1, max_size=12)
PLACE = st.integers(0, 10**6)


class EngineMachine(RuleBasedStateMachine):
    @initialize(
        n_parallel=st.integers(1, 4), window=st.sampled_from([None, 3]), n_batch=st.integers(1, 5)
    )
    def start(self, n_parallel, window, n_batch):
        self.network = FakeNetwork(
            n_ctx=20, n_parallel=n_parallel, window=window, n_batch=n_batch, max_rows=2
        )
        self.engine = Engine(self.network)
        self.sessions = []  # (session, its ids)
        self.streams = []  # (stream, its ids so far)

    def check(self, row, text):
        np.testing.assert_array_equal(row, self.network.logits_of(text))

    def full(self):
        return len(self.sessions) + len(self.streams) >= self.network.n_parallel

    @rule()
    def open(self):
        try:
            self.sessions.append((Session(self.engine, self.engine.open()), []))
        except CacheFullError:
            assert self.full()

    @precondition(lambda self: self.sessions)
    @rule(at=PLACE, ids=IDS, all_logits=st.booleans())
    def prefill(self, at, ids, all_logits):
        session, text = self.sessions[at % len(self.sessions)]
        try:
            rows = session.prefill(ids, all_logits=all_logits)
        except ContextFullError:
            assert len(text) + len(ids) > 20
            return
        text += ids
        self.check(rows[-1] if all_logits else rows, text)
        if all_logits:
            self.check(rows[0], text[: len(text) - len(ids) + 1])

    @precondition(lambda self: self.sessions)
    @rule(ids=st.lists(st.integers(1, 3), min_size=4, max_size=4))
    def decode_all(self, ids):
        ids = ids[: len(self.sessions)]
        try:
            rows = decode_batch(self.engine, [s for s, _ in self.sessions], ids)
        except ContextFullError:
            assert max(len(text) for _, text in self.sessions) == 20
            return
        for row, (_, text), token in zip(rows, self.sessions, ids, strict=True):
            text.append(token)
            self.check(row, text)

    @precondition(lambda self: self.sessions)
    @rule(at=PLACE, n=PLACE)
    def truncate(self, at, n):
        session, text = self.sessions[at % len(self.sessions)]
        n %= len(text) + 1
        session.truncate(n)
        del text[n:]

    @precondition(lambda self: self.sessions)
    @rule(at=PLACE)
    def fork(self, at):
        session, text = self.sessions[at % len(self.sessions)]
        try:
            self.sessions.append((session.fork(), text[:]))
        except CacheFullError:
            assert self.full()

    @precondition(lambda self: self.sessions)
    @rule(at=PLACE)
    def close(self, at):
        self.sessions.pop(at % len(self.sessions))[0].close()

    @precondition(lambda self: self.sessions)
    @rule(at=PLACE, ids=IDS, runs=st.integers(0, 3))
    def interrupt_a_prefill(self, at, ids, runs):
        session, _ = self.sessions[at % len(self.sessions)]
        left = [runs]

        def interrupt():
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        self.network.before_run = interrupt
        before = session.tokens
        try:
            session.prefill(ids)
        except (KeyboardInterrupt, ContextFullError):
            assert session.tokens == before
        else:
            session.truncate(len(before))
        finally:
            self.network.before_run = lambda: None

    @rule(prompt=IDS, keep=st.booleans(), n=st.integers(0, 4))
    def reply(self, prompt, keep, n):
        if self._begin(prompt, keep):
            stream, seen = self.streams.pop()
            for _ in range(n):
                next(stream, None)
            stream.close()
            assert prompt + stream.generation.tokens == seen

    @rule(prompt=IDS, keep=st.booleans())
    def begin(self, prompt, keep):
        self._begin(prompt, keep)

    def _begin(self, prompt, keep):
        seen = list(prompt)

        def check(ids, logits):
            assert ids.tolist() == seen
            self.check(logits, seen)
            logits[:] = -np.inf
            logits[sum(seen) % 3 + 97] = 0  # visible, and decided by the text
            seen.append(sum(seen) % 3 + 97)
            return logits

        options = Options(temperature=0, max_tokens=6, logits_processors=[check], cache_prompt=keep)
        stream = Stream(self.engine, Reply(self.engine, prompt, options, streams=True))
        try:
            next(stream)
        except CacheFullError:
            assert self.full()
        else:
            self.streams.append((stream, seen))
            return True
        return False

    @precondition(lambda self: self.streams)
    @rule(at=PLACE)
    def read(self, at):
        at %= len(self.streams)
        if next(self.streams[at][0], None) is None:
            assert self.streams.pop(at)[0].generation.finish_reason == "length"

    @invariant()
    def nothing_leaks(self):
        if hasattr(self, "network"):
            assert len(self.network.cache.texts) <= self.network.n_parallel
            for session, text in self.sessions:
                assert session.tokens == text

    def teardown(self):
        if hasattr(self, "network"):
            for session, _ in self.sessions:
                session.close()
            for stream, _ in self.streams:
                stream.close()
            # only idle texts are left, and each may make room
            assert [self.engine.open() for _ in range(self.network.n_parallel)]


EngineMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, derandomize=True
)
TestEngine = EngineMachine.TestCase
