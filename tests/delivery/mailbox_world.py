"""Two or three nodes on links that stall and drop, as one run of the model has them; its rules are in the machine."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant
from msgspec.structs import replace

from app.cluster.keys import user_channel
from app.delivery.mailbox import MailboxLimits
from app.errors import Unavailable
from app.messages.message import Envelope, MessageEncoder, NotifyMessage
from tests.delivery.mailbox_promises import USERS, Pushed, World, check_complete, check_order, check_total_order
from tests.delivery.model_link import TICK_S, Client, Link, StillLoop, settle
from tests.delivery.model_mailbox import LinkMailbox
from tests.delivery.model_nodes import ModelNode, Phone
from tests.delivery.model_server import Server

PHONES = 4  # of one user at the same time
TTL_MS = 86_400_000
WINDOW_MS = 60_000
MAX_PAGES = 60  # of catching up
RETRY_S = 1.1  # the retries of a node come within this time


async def end_other_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class MailboxWorld(RuleBasedStateMachine):
    """`do` does one thing and lets the nodes react; `exchange` lets everything on its way arrive as well."""

    size: ClassVar[int] = 2
    forgets: ClassVar[bool] = True
    """Whether the server may lose a subscription without notice."""
    checks_heads: ClassVar[bool] = True
    new_mailbox: ClassVar[type[LinkMailbox]] = LinkMailbox

    def __init__(self) -> None:
        super().__init__()
        self.loop = StillLoop()
        self.world = World()
        self.server = Server(self.world.clock, MailboxLimits(window_ms=WINDOW_MS))
        self.phones: list[Phone] = []
        self.nodes: list[ModelNode] = []
        logging.getLogger("app").addHandler(self.world.promises)

    def teardown(self) -> None:
        try:
            if self.nodes and not self.world.promises.broken:
                self.heal_all()
                self.check_all()
        finally:
            logging.getLogger("app").removeHandler(self.world.promises)
            self.run(end_other_tasks())
            self.loop.close()

    def spoil(self, node: ModelNode) -> None:
        """Give the node a defect."""

    # Moving

    def do(self, action: Callable[[], object], *, exchange: bool = False) -> None:
        self.run(self._do(action))
        if exchange:
            self.exchange()
        for phone in self.phones:
            phone.observe()
        for node in self.nodes:
            node.forget_unheard()
        for phone in self.phones:
            if phone.is_listening and phone.session.since is not None:
                phone.node.note_since(phone.user, phone.session.since)
        self.phones = [phone for phone in self.phones if not phone.has_gone]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)

    async def _do(self, action: Callable[[], object]) -> None:
        action()
        await settle()

    def exchange(self, *, only: ModelNode | None = None) -> None:
        """Until nothing is on its way, or nothing of `only` one node."""

        async def move_all() -> None:
            await settle()
            while links := [link for link in self._links(only) if link.to_server or link.to_node]:
                for link in links:
                    link.serve(100)
                for link in links:
                    link.receive(100)
                await settle()

        self.run(move_all())

    def _links(self, only: ModelNode | None) -> list[Link]:
        return [node.client.link for node in self.nodes if node.client.link is not None and only in (None, node)]

    def pass_time(self, seconds: float) -> None:
        """For retries; the clock of the messages stands still."""
        self.loop.now_s += seconds
        self.do(lambda: None)

    @invariant()
    def no_promise_is_broken(self) -> None:
        self.world.promises.expect(not self.server.twice, f"{self.server.twice} became two messages each")
        self.world.promises.check()

    # Sessions

    def phone(self, index: int, phones: Sequence[Phone]) -> Phone:
        return phones[index % len(phones)]

    def node(self, index: int) -> ModelNode:
        return self.nodes[index % len(self.nodes)]

    def begin_subscription(self, index: int, user: str, *, exchange: bool) -> None:
        of_user = [phone for phone in self.phones if phone.user == user]
        phone = next((phone for phone in of_user if not phone.is_listening), None)
        if phone is None:
            if len(of_user) >= PHONES:
                return
            phone = Phone(self.node(index), user, self.world.promises)
            phone.on_broadcast = self._note_overtaking
            self.phones.append(phone)
        self.do(lambda: phone.subscribe(self.world.confirmed[user], self.world.acked), exchange=exchange)

    def take_acknowledgements(self, phone: Phone, ids: Iterable[str], *, exchange: bool = False) -> None:
        def acknowledge() -> None:
            for id in sorted(ids):
                self.world.acked.add(id)
                phone.acknowledge(id, partial(self._note_confirmed, id))

        self.do(acknowledge, exchange=exchange)

    def _note_confirmed(self, id: str) -> None:
        """What asks for no acknowledgement goes to each session all the same."""
        pushed = self.world.pushed[id]
        if pushed.user is not None and pushed.envelope.acknowledged:
            self.world.confirmed[pushed.user].add(id)

    # Messages

    def push_next(self, publisher: int, node: ModelNode, user: str, form: str, *, exchange: bool) -> None:
        """A publisher waits for the answer before its next message."""
        if any(pushed.is_pending and pushed.publisher == publisher for pushed in self.world.pushed.values()):
            return
        self.world.clock.advance(TICK_S)
        pushed = self._new(publisher, None if form == "broadcast" else user, form)
        self.world.pushed[pushed.id] = pushed
        if form == "persisted":
            self.world.archive.add(pushed.envelope)
        pushed.node = node
        self.do(lambda: self.start_task(self.push_to(pushed, node)), exchange=exchange)

    def _note_overtaking(self, phone: Phone, id: str) -> None:
        """A broadcast does not wait for what its node has missed without notice."""
        stream, seq = phone.node.streams.get(phone.user), self.server.before_broadcast(id, phone.user)
        is_told = stream is not None and (stream.is_catching_up or stream.is_away)
        if not is_told and (stream is None or stream.cursor is None or stream.cursor < seq):
            phone.overtaking.add(id)

    def _new(self, publisher: int, user: str | None, form: str) -> Pushed:
        now_ms = self.world.clock.epoch_ms()
        message = NotifyMessage(f"m{len(self.world.pushed)}", "STRING_MSG", user, "hello", False, now_ms)
        envelope = Envelope(message, MessageEncoder(message), now_ms + TTL_MS, form != "once", form == "persisted")
        return Pushed(envelope, publisher, form == "given", user)

    def repeatable(self) -> list[Pushed]:
        return [
            pushed
            for pushed in self.world.pushed.values()
            if not pushed.is_pending and (pushed.given or (pushed.envelope.persisted and not pushed.is_accepted))
        ]

    def start_nodes(self, *, waits: bool) -> None:
        """`waits`: a replica must have what is accepted."""

        def new_mailbox(client: Client, node: str) -> LinkMailbox:
            return self.new_mailbox(client, node, waits=waits)

        def new_nodes() -> None:
            for number in range(self.size):
                node = ModelNode(f"n{number}", self.server, self.world.archive, new_mailbox)
                self.spoil(node)
                node.client.connect()
                self.nodes.append(node)

        self.do(new_nodes, exchange=True)

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.ensure_future(work)  # noqa: RUF006  # the loop of a test is short

    async def push_to(self, pushed: Pushed, node: ModelNode, *, again: bool = False) -> None:
        pushed.is_pending = True
        pushed.pushes += again
        pushed.ordered = False
        envelope = replace(pushed.envelope)
        try:
            if pushed.user is None:
                await node.delivery.broadcast(envelope.message)
            else:
                again = again and envelope.persisted
                await node.delivery.push(envelope, given_id=pushed.given, again=again)
        except Unavailable:
            return
        finally:
            pushed.is_pending = False
        pushed.is_accepted = True
        if pushed.pushes == 1:
            pushed.ordered = True
            self.world.order.append(pushed.id)

    # Links

    def move_link(self, node: ModelNode, move: Callable[[Link], None]) -> None:
        if node.client.link is not None:
            link = node.client.link
            self.do(lambda: move(link))

    def end_subscription(self, node: ModelNode, user: str, *, silently: bool) -> None:
        node.client.forget(user_channel(user), silently=silently and self.forgets)

    def ask_heads(self, node: ModelNode) -> None:
        for user in USERS:
            if node.is_listening(user):
                node.check_head(user)

    def pass_the_window(self) -> None:
        """From the next message on the log has only that."""
        self.world.clock.advance(WINDOW_MS / 1000 + 1)

    # The end

    def heal_all(self) -> None:
        self.server.lag(False)
        for node in self.nodes:
            self.do(node.client.connect)
        self._come_to_rest()
        for pushed in self.repeatable():
            if pushed.envelope.persisted:
                self.do(lambda: self.start_task(self.push_to(pushed, self.nodes[0], again=True)))  # noqa: B023  # done at once
        self._come_to_rest()

    def _come_to_rest(self) -> None:
        for _ in range(3):
            if self.checks_heads:
                for node in self.nodes:
                    self.do(partial(self.ask_heads, node))
            self.do(lambda: None, exchange=True)
            for _ in range(MAX_PAGES):
                self.pass_time(RETRY_S)
                self.do(lambda: None, exchange=True)
                if not any(stream.is_catching_up for node in self.nodes for stream in node.streams.values()):
                    break

    def check_all(self) -> None:
        promises = self.world.promises
        for phone in self.phones:
            if phone.is_listening:
                promises.expect(phone.is_subscribed, "SUBSCRIBE without RECEIPT")
                check_complete(self.world, self.server, phone)
            check_order(self.world, self.server, phone)
            check_total_order(self.world, self.server, phone)
        for node in self.nodes:
            for user, stream in node.streams.items():
                at_rest = stream.cursor == self.server.store.head(user) and not stream.is_catching_up
                needed = node.is_listening(user) and (self.checks_heads or not self.forgets)
                promises.expect(at_rest or not needed, f"the cursor of {user} rests behind the head")
        promises.check()
