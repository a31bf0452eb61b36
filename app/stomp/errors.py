"""What a peer can do wrong.

ProtocolError           answered with one ERROR frame, then the connection ends
└── FrameTooLarge       over a limit of `FrameLimits`
"""


class ProtocolError(Exception):
    """`message` is the short text for the header of the same name, `detail` the sentence for the body.

    `receipt_id` is the receipt that the offending frame asked for; `headers` go into the ERROR frame as well.
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
