"""The native fakes: time and chance under a test's control."""

from dure import _testing


def test_fake_clock_moves_only_by_advance() -> None:
    clock = _testing.FakeClock()
    start, wall = clock.now(), clock.wall_us()
    clock.advance(1.5)
    assert clock.now() == start + 1.5
    assert clock.wall_us() == wall + 1_500_000


def test_fake_random_repeats_from_its_seed() -> None:
    first, second = _testing.FakeRandom(7), _testing.FakeRandom(7)
    assert [first.next() for _ in range(5)] == [second.next() for _ in range(5)]
    assert _testing.FakeRandom(8).next() != _testing.FakeRandom(7).next()
