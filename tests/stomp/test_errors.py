from app.stomp.errors import FrameTooLarge, ProtocolError


def test_an_error_has_its_parts_and_a_ready_sentence() -> None:
    error = ProtocolError("bad", "it is bad", receipt_id="r", headers={"version": "1.2"})
    assert str(error) == "bad: it is bad"
    assert (error.message, error.detail, error.receipt_id, error.headers) == (
        "bad",
        "it is bad",
        "r",
        {"version": "1.2"},
    )
    assert ProtocolError("bad", "it is bad").headers == {}


def test_a_frame_over_a_limit_is_a_protocol_error() -> None:
    error = FrameTooLarge("over", receipt_id="r")
    assert isinstance(error, ProtocolError)
    assert (str(error), error.receipt_id, error.headers) == ("frame too large: over", "r", {})
