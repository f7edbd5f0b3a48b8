from adln.service.rate_limits import RateLimit


def test_a_client_has_to_wait_once_its_bucket_is_empty_and_others_do_not() -> None:
    now = [0.0]
    limit = RateLimit(60, at_once=3, clock=lambda: now[0])
    assert [limit.wait_s("a") for _ in range(3)] == [0, 0, 0]
    assert 0 < limit.wait_s("a") <= 1
    assert limit.wait_s("b") == 0
    now[0] = 1.0
    assert limit.wait_s("a") == 0
    assert limit.wait_s("a") > 0


def test_looking_takes_nothing() -> None:
    limit = RateLimit(60, at_once=1, clock=lambda: 0.0)
    assert limit.wait_s("a", take=False) == 0
    assert limit.wait_s("a") == 0
    assert limit.wait_s("a", take=False) > 0


def test_zero_is_no_limit() -> None:
    limit = RateLimit(0, clock=lambda: 0.0)
    assert all(limit.wait_s("a") == 0 for _ in range(1000))
