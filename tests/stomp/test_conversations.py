"""Arbitrary bytes and random conversations against a model."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.stomp.errors import ProtocolError
from app.stomp.events import (
    Ack,
    Commit,
    Connect,
    Disconnect,
    Event,
    Nack,
    ReceiptOnly,
    Send,
    Subscribe,
    Subscription,
    Unsubscribe,
)
from app.stomp.frames import AckMode
from app.stomp.session import OPEN_COMMANDS, TRANSITIONS, ServerSession, SessionLimits, State, ack_id
from tests.stomp.sessions import (
    EVERY_VERSION,
    HOSTILE,
    SINCE_1_1,
    SMALL,
    as_client,
    command_of,
    new_session,
    open_session,
    receive,
    refusal,
)


@settings(deadline=None)
@given(pieces=st.lists(HOSTILE, max_size=5), version=st.sampled_from([None, *EVERY_VERSION]))
def test_arbitrary_bytes_raise_nothing_but_a_protocol_error_and_can_be_answered(
    pieces: list[bytes], version: str | None
) -> None:
    session = new_session(SMALL) if version is None else open_session(version, SMALL)
    try:
        for piece in [*pieces, b""]:
            for event in receive(session, piece):
                answer(session, event)
    except ProtocolError as error:
        assert session.state is State.CLOSED
        session.error(error.message, error.detail, receipt_id=error.receipt_id, headers=error.headers)


def answer(session: ServerSession, event: Event) -> None:
    """Respond to an event as the gateway does: whatever headers it has, the response can be encoded."""
    if isinstance(event, Connect):
        session.accept(session_id="s1", user="ann")
    elif event.receipt is not None:
        assert as_client(session.receipt(event.receipt), session.version).headers == {"receipt-id": event.receipt}


def headers_of(**headers: str) -> str:
    return "".join(f"{name.replace('_', '-')}:{value}\n" for name, value in headers.items())


INVALID = [
    *("CONNECT\naccept-version:1.2\n\n\0", "FOO\n\n\0", "SEND\n\n\0", "\0", "SEND\nx\n\n\0", "BEGIN\n\n\0"),
    *(
        "SEND\ndestination:/a\ntransaction:unknown\n\n\0",
        "COMMIT\ntransaction:unknown\n\n\0",
        "ABORT\ntransaction:unknown\n\n\0",
    ),
    "SUBSCRIBE\nid:9\ndestination:/a\nack:never\n\n\0",
]


NAMES = st.sampled_from(["t", "u", "v"])


IDS = st.sampled_from(["0", "1", "2"])


RECEIPTS = st.none() | st.sampled_from(["r", "s"])


class Conversations(RuleBasedStateMachine):
    """A client that mostly follows the specification, and a model of what it has open."""

    @initialize(version=st.sampled_from(SINCE_1_1))
    def connect(self, version: str) -> None:
        self.version = version
        self.session = new_session(SessionLimits(max_subscriptions=3, max_transactions=3))
        self.subscriptions: dict[str, Subscription] = {}
        self.transactions: dict[str, list[Send | Ack | Nack]] = {}
        self.expect(f"CONNECT\naccept-version:{version}\n\n\0", Connect({"accept-version": version}))

    def expect(self, wire: str, event: Event) -> None:
        """Check event and next state against the transition table. No events before accept or after the end."""
        before, command = self.session.state, command_of(wire)
        events = receive(self.session, wire)
        assert events == [event]
        assert self.session.state is TRANSITIONS[before, command]

    def transacted(self, frame: str, name: str | None, event: Send | Ack | Nack, receipt: str | None) -> None:
        if name is None:
            self.expect(frame, event)
        else:
            self.transactions[name].append(event)
            self.expect(frame, ReceiptOnly(receipt))

    def is_open(self) -> bool:
        return self.session.state is State.OPEN

    def is_closed(self) -> bool:
        return self.session.state is State.CLOSED

    @precondition(lambda self: self.session.state is State.AUTHENTICATING)
    @rule()
    def accept(self) -> None:
        assert receive(self.session, "\n") == []
        self.session.accept(session_id="s1", user="ann")
        assert self.is_open()

    @precondition(is_open)
    @rule(subscription_id=IDS, mode=st.sampled_from(AckMode))
    def subscribe(self, subscription_id: str, mode: AckMode) -> None:
        wire = f"SUBSCRIBE\nid:{subscription_id}\ndestination:/a\nack:{mode}\n\n\0"
        if subscription_id in self.subscriptions:
            self.refused(wire)
        else:
            self.subscriptions[subscription_id] = subscription = Subscription(subscription_id, "/a", mode)
            self.expect(wire, Subscribe(subscription))

    @precondition(is_open)
    @rule(subscription_id=IDS)
    def unsubscribe(self, subscription_id: str) -> None:
        ended = self.subscriptions.pop(subscription_id, None)
        self.expect(f"UNSUBSCRIBE\nid:{subscription_id}\n\n\0", Unsubscribe(ended))

    @precondition(is_open)
    @rule(name=NAMES, receipt=RECEIPTS)
    def begin(self, name: str, receipt: str | None) -> None:
        wire = f"BEGIN\ntransaction:{name}\n{headers_of(receipt=receipt) if receipt else ''}\n\0"
        if name in self.transactions:
            self.refused(wire)
        else:
            self.transactions[name] = []
            self.expect(wire, ReceiptOnly(receipt))

    @precondition(is_open)
    @rule(data=st.data(), body=st.sampled_from(["", "x", "\n"]), receipt=RECEIPTS)
    def send(self, data: st.DataObject, body: str, receipt: str | None) -> None:
        name = data.draw(st.sampled_from([None, *self.transactions]))
        headers = (
            {"destination": "/a"} | ({"transaction": name} if name else {}) | ({"receipt": receipt} if receipt else {})
        )
        event = Send("/a", headers, body.encode(), None if name else receipt)
        self.transacted(f"SEND\n{headers_of(**headers)}\n{body}\0", name, event, receipt)

    @precondition(is_open)
    @rule(data=st.data(), kind=st.sampled_from([Ack, Nack]), subscription_id=IDS, receipt=RECEIPTS)
    def acknowledge(
        self, data: st.DataObject, kind: type[Ack | Nack], subscription_id: str, receipt: str | None
    ) -> None:
        name = data.draw(st.sampled_from([None, *self.transactions]))
        headers = {"message_id": "m", "subscription": subscription_id, "id": ack_id("m", subscription_id)}
        headers |= ({"transaction": name} if name else {}) | ({"receipt": receipt} if receipt else {})
        event = kind("m", self.subscriptions.get(subscription_id), None if name else receipt)
        self.transacted(f"{kind.__name__.upper()}\n{headers_of(**headers)}\n\0", name, event, receipt)

    @precondition(lambda self: self.is_open() and self.transactions)
    @rule(data=st.data(), commit=st.booleans())
    def end_transaction(self, data: st.DataObject, commit: bool) -> None:
        name = data.draw(st.sampled_from(list(self.transactions)))
        gathered = self.transactions.pop(name)
        if commit:
            self.expect(f"COMMIT\ntransaction:{name}\n\n\0", Commit(tuple(gathered)))
        else:
            self.expect(f"ABORT\ntransaction:{name}\n\n\0", ReceiptOnly())

    @precondition(is_open)
    @rule()
    def disconnect(self) -> None:
        self.expect("DISCONNECT\n\n\0", Disconnect())

    @precondition(is_open)
    @rule(frame=st.sampled_from(INVALID))
    def break_a_rule(self, frame: str) -> None:
        self.refused(frame)

    @rule()
    def hang_up(self) -> None:
        self.session.error("bye", "")
        assert self.is_closed()

    @precondition(is_closed)
    @rule(frame=st.sampled_from([*INVALID, "SEND\ndestination:/a\n\n\0", "CONNECT\n\n\0"]))
    def talk_after_the_end(self, frame: str) -> None:
        assert receive(self.session, frame) == []
        assert self.is_closed()

    def refused(self, wire: str) -> None:
        refusal(self.session, wire)

    @invariant()
    def the_open_subscriptions_are_those_of_the_model(self) -> None:
        if hasattr(self, "session") and not self.is_closed():
            assert self.session.subscriptions == self.subscriptions


TestConversations = Conversations.TestCase


TestConversations.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_transition_table_has_exactly_the_commands_of_a_client() -> None:
    assert {command for _, command in TRANSITIONS} == {"CONNECT", "STOMP", "DISCONNECT", *OPEN_COMMANDS}
    assert not any(state in (State.AUTHENTICATING, State.CLOSED) for state, _ in TRANSITIONS)
