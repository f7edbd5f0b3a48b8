from adln.service.undoing import KEPT_S, Step, UndoList


def step(*persons: int) -> Step:
    return Step("merge", frozenset(persons), lambda: None)


def test_a_step_is_handed_out_once() -> None:
    undo = UndoList()
    name = undo.add(step(1))
    assert undo.take("another") is None
    assert undo.take(name) is not None
    assert undo.take(name) is None


def test_steps_grow_old() -> None:
    now = [0.0]
    undo = UndoList(clock=lambda: now[0])
    name = undo.add(step(1))
    now[0] = KEPT_S + 1
    assert undo.take(name) is None


def test_of_somebody_forgotten_nothing_is_kept() -> None:
    undo = UndoList()
    gone, left = undo.add(step(1, 2)), undo.add(step(3))
    undo.forget([2])
    assert undo.take(gone) is None
    assert undo.take(left) is not None


def test_only_so_many_are_kept() -> None:
    undo = UndoList()
    names = [undo.add(step(at)) for at in range(200)]
    assert undo.take(names[0]) is None
    assert undo.take(names[-1]) is not None
