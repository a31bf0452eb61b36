"""Violations of the protocol by a client. Each is answered with one ERROR frame, then the connection is closed.

ProtocolError
└── FrameTooLarge       a limit of `FrameLimits` is exceeded
"""


class ProtocolError(Exception):
    """A violation. `message` becomes the header of that name, `detail` the body of the ERROR frame.

    `receipt_id` is the receipt that the frame requested. `headers` are added to the ERROR frame.
    """

    def __init__(
        self, message: str, detail: str, *, receipt_id: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(f"{message}: {detail}")
        self.message = message
        self.detail = detail
        self.receipt_id = receipt_id
        self.headers = headers or {}


class FrameTooLarge(ProtocolError):
    def __init__(self, detail: str, *, receipt_id: str | None = None) -> None:
        super().__init__("frame too large", detail, receipt_id=receipt_id)
