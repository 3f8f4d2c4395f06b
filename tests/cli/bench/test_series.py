import math

from atoll.cli.bench.row import Check, Row
from atoll.cli.bench.series import Contender, Failed, Series, interleaved


def test_quantiles() -> None:
    series = Series([float(number) for number in range(1, 101)])
    assert series.p50 == 51
    assert series.p99 == 100
    assert math.isnan(Series().p50)


def test_contenders_take_turns_and_slow_ones_fewer() -> None:
    calls: list[str] = []

    def contender(name: str, every: int = 1) -> Contender:
        def attempt() -> float:
            calls.append(name)
            return 1.0

        return Contender(attempt, every)

    found = interleaved({"a": contender("a"), "b": contender("b"), "c": contender("c", 10)}, 20)
    measured = calls[calls.index("c") + 1 :]
    assert measured[:5] == ["a", "b", "c", "a", "b"]
    assert [len(found[name].samples_ms) for name in "abc"] == [20, 20, 2]


def test_errors_are_counted_not_timed() -> None:
    def attempt() -> float:
        raise Failed("wrong answer")

    series = interleaved({"atoll": Contender(attempt)}, 5)["atoll"]
    assert (series.errors, series.samples_ms, series.first_error) == (5, [], "wrong answer")
    assert Row("g", "p", {"atoll": series}, (Check("p50", series.p50, 1),)).met is None


def test_a_row_with_errors_does_not_hold() -> None:
    good = Series([1.0, 1.0])
    bad = Series([1.0], errors=1)
    check = (Check("p50", 1.0, 2.0),)
    assert Row("g", "p", {"atoll": good, "bwrap": bad}, check).met is True
    assert Row("g", "p", {"atoll": bad, "bwrap": good}, check).met is False
    assert Row("g", "p", {"atoll": good}, (Check("rate", 5, 6, at_least=True),)).met is False
    assert Row("g", "p", {"atoll": good, "bwrap": Series([4.0])}, check).ratios() == {"bwrap": 0.25}
