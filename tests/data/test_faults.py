import pytest

from leaven.data.faults import Faults
from leaven.errors import DataError


def collected(*errors: DataError) -> DataError | None:
    faults = Faults()
    for error in errors:
        with faults:
            raise error
    try:
        faults.check()
    except DataError as error:
        return error
    return None


def of(name: str, expected: str = "a number") -> DataError:
    return DataError(f"{name} is wrong.", expected, "correct it.")


def test_no_fault_is_no_error() -> None:
    assert collected() is None


def test_one_fault_is_told_as_it_is() -> None:
    only = of("a")
    assert collected(only) is only


def test_faults_of_one_kind_are_counted_and_the_first_named() -> None:
    found = collected(*(of(f"{number}") for number in range(1000)))
    assert found is not None
    assert found.found.split("\n") == [
        "1000 faults of one kind:", *(f"{number} is wrong." for number in range(5)), "and 995 more.",
    ]  # fmt: skip
    assert (found.expected, found.do) == ("a number", "correct it.")


def test_faults_of_other_kinds_are_counted_beside() -> None:
    found = collected(of("a"), of("b", "a name"))
    assert found is not None and found.expected == "a number"
    assert found.found == "a is wrong.\nBesides, one of another kind: b is wrong."
    found = collected(of("a"), of("b", "a name"), of("c"), of("d", "a name"), of("e", "a size"))
    assert found is not None
    assert found.found == (
        "2 faults of one kind:\na is wrong.\nc is wrong.\n"
        "Besides, 3 of other kinds, the first: b is wrong."
    )


def test_other_errors_are_not_kept() -> None:
    faults = Faults()
    with pytest.raises(KeyError), faults:
        raise KeyError("a")
    faults.check()
