import ssl

import pytest

from app.errors import ConfigurationError
from app.redis.address import RedisAddress, parse_redis_url


def address_of(url: str) -> RedisAddress:
    return parse_redis_url(url)


def problem_of(url: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_redis_url(url)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_plain_url_is_one_server() -> None:
    address = address_of("redis://example.org")
    assert address == RedisAddress(kind="single", hosts=(("example.org", 6379),))


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("redis://h:7000", (("h", 7000),)),
        ("redis://[::1]:7000", (("::1", 7000),)),
        ("redis+cluster://h1,h2:7001", (("h1", 6379), ("h2", 7001))),
        ("redis+sentinel://h1,h2:5,[::1]/svc", (("h1", 26379), ("h2", 5), ("::1", 26379))),
    ],
)
def test_hosts_have_the_port_that_is_usual_for_their_kind(url: str, hosts: object) -> None:
    assert address_of(url).hosts == hosts


@pytest.mark.parametrize(
    ("url", "username", "password"),
    [
        ("redis://u:p@h", "u", "p"),
        ("redis://:p@h", None, "p"),
        ("redis://u:p%40x%2Fy%3Az@h", "u", "p@x/y:z"),
        ("redis://u:p@ss@h", "u", "p@ss"),
        ("redis+cluster://u:a,b@h1,h2", "u", "a,b"),
        ("redis+sentinel://u:p@h1,h2/svc", "u", "p"),
    ],
)
def test_user_and_password_are_taken_as_redis_py_takes_them(
    url: str, username: str | None, password: str | None
) -> None:
    address = address_of(url)
    assert ((address.username or None), address.password) == (username, password)


@pytest.mark.parametrize(
    ("url", "db"),
    [
        ("redis://h/2", 2),
        ("redis://h?db=3", 3),
        ("redis://h/", 0),
        ("redis+sentinel://h/svc", 0),
        ("redis+sentinel://h/svc/4", 4),
        ("redis+sentinel://h/svc?db=5", 5),
        ("redis+cluster://h/0", 0),
    ],
)
def test_the_database_is_in_the_path_or_an_option(url: str, db: int) -> None:
    assert address_of(url).db == db


def test_sentinels_have_a_user_and_a_password_of_their_own() -> None:
    address = address_of("redis+sentinel://u:p@h/svc?sentinel_username=s&sentinel_password=q")
    assert (address.service, address.sentinel_username, address.sentinel_password) == ("svc", "s", "q")
    assert (address.username, address.password) == ("u", "p")


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster", "rediss+sentinel"])
def test_tls_verifies_the_server_by_default(scheme: str) -> None:
    tls = address_of(f"{scheme}://h/{'svc' if 'sentinel' in scheme else ''}").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_the_options_of_redis_py_say_how_tls_verifies() -> None:
    tls = address_of("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_NONE, False)
    tls = address_of("rediss://h?ssl_check_hostname=no").tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, False)


def test_without_rediss_there_is_no_tls() -> None:
    assert address_of("redis://h?ssl_cert_reqs=none").tls is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "it has no scheme"),
        ("localhost:6379", "it has no scheme"),
        ("unix:///tmp/s", "unknown scheme 'unix'"),
        ("redis+other://h", "unknown scheme 'redis+other'"),
        ("redis://", "a host is missing"),
        ("redis+cluster://h1,,h2", "a host is missing"),
        ("redis://a,b", "several hosts need"),
        ("redis://h:abc", "a port is not a number"),
        ("redis://h:99999", "a port is not a number"),
        ("redis://[::1", "Invalid IPv6"),
        ("redis://a..b", "idna"),
        ("redis://h/abc", "the database is not a number"),
        ("redis://h/-1", "the database is not a number"),
        ("redis://h?db=x", "db"),
        ("redis+cluster://h/1", "only database 0"),
        ("redis+sentinel://h", "the name of the service is missing"),
        ("redis://h?foo=1", "unknown option 'foo'"),
        ("rediss://h?ssl_foo=1", "ssl_foo"),
        ("rediss://h?ssl_ca_certs=/nowhere", "No such file"),
        ("rediss://h?ssl_cert_reqs=perhaps", "perhaps"),
    ],
)
def test_an_invalid_url_is_refused_with_the_reason_and_the_forms(url: str, problem: str) -> None:
    text = problem_of(url)
    assert text.startswith("REDIS_URL cannot be read: ")
    assert problem in text
    assert "redis+sentinel://host1:26379,host2:26379/service" in text


@pytest.mark.parametrize(
    "url",
    [
        "user:sEcret@host:6379",
        "redis:/:sEcret@host",
        "redis://:x/sEcret@host",
        "redis://user:12/sEcret@host",
        "redis+sentinel://user:12/sEcret@host",
        "redis://user:sEcret/x@host",
        "redis://user:sEcret#x@host",
        "redis://user:x#sEcret@host",
        "redis://user:sEcret?x@host",
        "redis://user:x?sEcret@host",
        "redis://user:sEcret@host:x",
        "redis://user:sEcret@host/x",
        "redis://user:sEcret@a,b",
        "redis://user:sEcret@host?foo=1",
    ],
)
def test_no_error_shows_the_password_however_it_was_written(url: str) -> None:
    assert "sEcret" not in problem_of(url)


def test_passwords_are_not_shown_with_the_address() -> None:
    address = address_of("redis+sentinel://u:sEcret@h/svc?sentinel_password=sEcret2")
    assert "sEcret" not in repr(address)
