"""What can happen to nodes, sessions, publishers and the server: the rules of the model."""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from tests.delivery.mailbox_promises import PUBLISHERS, USERS
from tests.delivery.mailbox_world import RETRY_S, MailboxWorld

FORMS = ("transient", "transient", "given", "persisted", "once", "broadcast")

indexes = st.integers(0, 11)
counts = st.sampled_from((1, 2, 3, 100))
rarely = st.sampled_from((False, False, False, True))
likely = st.sampled_from((True, True, False))


class MailboxMachine(MailboxWorld):
    """Most rules move one thing; some do what is likely to break a promise, since chance alone seldom finds it."""

    @initialize(waits=st.booleans(), phones=st.integers(0, 3))
    def start(self, waits: bool, phones: int) -> None:
        self.start_nodes(waits=waits)
        for index in range(phones):
            self.begin_subscription(index, USERS[0], exchange=True)

    # Sessions

    @rule(index=indexes, user=st.sampled_from((USERS[0], *USERS)), exchange=likely)
    def subscribe(self, index: int, user: str, exchange: bool) -> None:
        self.begin_subscription(index, user, exchange=exchange)

    @precondition(lambda self: any(phone.is_listening for phone in self.phones))
    @rule(index=indexes, stays=st.booleans(), exchange=likely)
    def unsubscribe(self, index: int, stays: bool, exchange: bool) -> None:
        phone = self.phone(index, [phone for phone in self.phones if phone.is_listening])
        self.do(phone.unsubscribe if stays else phone.leave, exchange=exchange)

    @precondition(lambda self: any(phone.received.keys() - phone.acked for phone in self.phones))
    @rule(index=indexes, all_of_them=st.booleans(), exchange=likely)
    def acknowledge(self, index: int, all_of_them: bool, exchange: bool) -> None:
        phone = self.phone(index, [phone for phone in self.phones if phone.received.keys() - phone.acked])
        ids = [id for id in phone.received if id not in phone.acked]
        self.take_acknowledgements(phone, ids if all_of_them else ids[:1], exchange=exchange)

    # Messages

    @rule(
        count=st.integers(1, PUBLISHERS),
        index=indexes,
        user=st.sampled_from((USERS[0], USERS[0], *USERS)),
        form=st.sampled_from(FORMS),
        exchange=likely,
    )
    def push(self, count: int, index: int, user: str, form: str, exchange: bool) -> None:
        """Several publishers, each to another node."""
        for publisher in range(count):
            self.push_next(publisher, self.node(index + publisher), user, form, exchange=False)
        self.do(lambda: None, exchange=exchange)

    @rule(forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=4), index=indexes, moves=st.booleans())
    def push_in_turn(self, forms: list[str], index: int, moves: bool) -> None:
        """One publisher."""
        for offset, form in enumerate(forms):
            self.push_next(0, self.node(index + moves * offset), USERS[0], form, exchange=True)

    @rule(
        forms=st.lists(st.sampled_from(FORMS), min_size=1, max_size=3),
        index=indexes,
        how=st.sampled_from(("cut", "forget", "forget", "stall")),
        acknowledged=likely,
        then=st.sampled_from(("nothing", "exchange", "newcomer", "newcomer")),
    )
    def push_past_a_node(self, forms: list[str], index: int, how: str, acknowledged: bool, then: str) -> None:
        """A node does not hear what its neighbour accepts, and perhaps has a new session before it catches up."""
        node, neighbour = self.node(index), self.node(index + 1)
        if how == "cut":
            self.do(node.client.cut)
        elif how == "forget":
            self.do(lambda: self.end_subscription(node, USERS[0], silently=True))
        for form in forms:
            self.push_next(0, neighbour, USERS[0], form, exchange=False)
            self.exchange(only=neighbour)
        if acknowledged:
            for phone in [phone for phone in self.phones if phone.node is neighbour and phone.user == USERS[0]]:
                self.take_acknowledgements(phone, phone.received.keys() - phone.acked)
            self.exchange(only=neighbour)
        self.do(node.client.connect, exchange=then == "exchange")
        if then == "newcomer":
            self.begin_subscription(index, USERS[0], exchange=True)

    @rule(index=indexes, form=st.sampled_from(FORMS), window_passes=likely, exchange=st.booleans())
    def come_back(self, index: int, form: str, window_passes: bool, exchange: bool) -> None:
        """A user leaves a node and returns to it; messages come meanwhile, and perhaps the log drops the first."""
        node = self.node(index)
        for phone in [phone for phone in self.phones if phone.node is node and phone.user == USERS[0]]:
            self.do(phone.leave)
        self.push_next(0, self.node(index + 1), USERS[0], form, exchange=True)
        if window_passes:
            self.pass_the_window()
        self.push_next(0, self.node(index + 1), USERS[0], form, exchange=True)
        self.begin_subscription(index, USERS[0], exchange=exchange)

    @precondition(lambda self: self.repeatable())
    @rule(index=indexes, at=indexes, exchange=st.booleans())
    def push_again(self, index: int, at: int, exchange: bool) -> None:
        """The caller repeats an id, or the recovery repeats a persisted message; whatever the answer was."""
        repeatable = self.repeatable()
        pushed = repeatable[index % len(repeatable)]
        self.do(lambda: self.start_task(self.push_to(pushed, self.node(at), again=True)), exchange=exchange)

    @rule()
    def resend(self) -> None:
        """The retry job runs when all that is unacknowledged is due."""
        self.world.clock.advance(6)
        for node in self.nodes:
            self.run(node.delivery.sweep())
        self.do(lambda: None)

    # Links

    @rule(index=indexes, count=counts)
    def serve(self, index: int, count: int) -> None:
        self.move_link(self.node(index), lambda link: link.serve(count))

    @rule(index=indexes, count=counts)
    def receive(self, index: int, count: int) -> None:
        self.move_link(self.node(index), lambda link: link.receive(count))

    @rule()
    def let_all_arrive(self) -> None:
        self.do(lambda: None, exchange=True)

    @rule()
    def retry(self) -> None:
        self.pass_time(RETRY_S)

    @rule(index=indexes, served=counts)
    def cut(self, index: int, served: int) -> None:
        """Of the commands on their way the first ones are executed all the same."""
        node = self.node(index)
        self.move_link(node, lambda link: link.serve(served - 1))
        self.do(node.client.cut)

    @rule(index=indexes, exchange=likely)
    def connect(self, index: int, exchange: bool) -> None:
        self.do(self.node(index).client.connect, exchange=exchange)

    @rule(index=indexes, user=st.sampled_from(USERS), silently=likely)
    def forget(self, index: int, user: str, silently: bool) -> None:
        """The server ends a subscription."""
        self.do(lambda: self.end_subscription(self.node(index), user, silently=silently))

    @rule(index=indexes, exchange=likely)
    def check_heads(self, index: int, exchange: bool) -> None:
        if self.checks_heads:
            self.do(lambda: self.ask_heads(self.node(index)), exchange=exchange)

    # The server

    @rule()
    def let_the_window_pass(self) -> None:
        self.pass_the_window()

    @rule(lags=likely)
    def lag(self, lags: bool) -> None:
        self.server.lag(lags)

    @precondition(lambda self: self.server.accepted)
    @rule(happens=rarely, loses_all=rarely)
    def fail_over(self, happens: bool, loses_all: bool) -> None:
        """All connections end, and come back."""
        if not happens:
            return
        for node in self.nodes:
            self.do(node.client.cut)
        (self.server.lose_all if loses_all else self.server.fail_over)()
        for node in self.nodes:
            self.do(node.client.connect)
