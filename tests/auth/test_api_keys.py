import hmac

import pytest

from app.auth.api_keys import ApiKeys
from app.errors import ConfigurationError

FIRST, SECOND = "first-key-0123456789", "second-key-0123456789"


@pytest.mark.parametrize("candidate", [FIRST, SECOND])
def test_each_configured_key_is_accepted(candidate: str) -> None:
    assert ApiKeys([FIRST, SECOND]).verify(candidate)


@pytest.mark.parametrize("candidate", ["", FIRST[:-1], FIRST + "x", FIRST.upper(), FIRST + SECOND, " " + FIRST])
def test_anything_else_is_refused(candidate: str) -> None:
    assert not ApiKeys([FIRST, SECOND]).verify(candidate)


@pytest.mark.parametrize("candidate", ["schlüssel", "密钥", "\ud800", "\x00", "\xff" * 100_000])
def test_a_candidate_of_any_characters_is_refused_without_an_exception(candidate: str) -> None:
    assert not ApiKeys([FIRST]).verify(candidate)


def test_every_key_is_compared_so_that_the_time_does_not_tell_which_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert ApiKeys([FIRST, SECOND]).verify(FIRST)
    assert len(set(compared)) == 2


def test_without_keys_it_is_false_and_refuses_everything() -> None:
    assert not ApiKeys([])
    assert not ApiKeys([]).verify("")
    assert ApiKeys([FIRST])


def test_short_keys_work_and_are_named_by_their_place() -> None:
    keys = ApiKeys([FIRST, "hush-hush", "x" * 16, "x" * 15])
    assert keys.verify("hush-hush")
    assert keys.guessable == [2, 4]


@pytest.mark.parametrize("key", ["", "schlüssel-0123456789", "line\nbreak-0123456789"])
def test_a_key_that_no_header_could_carry_is_refused_always(key: str) -> None:
    with pytest.raises(ConfigurationError, match="API_KEYS: key 1"):
        ApiKeys([key])
