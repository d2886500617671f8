import pytest

from slowfast.config import Registry


@pytest.fixture
def shapes():
    registry = Registry("shape")
    registry.register()(type("Circle", (), {}))
    registry.register("box")(4)
    return registry


def test_an_object_is_registered_under_its_own_name_or_a_given_one(shapes):
    assert shapes.names == ("Circle", "box")
    assert shapes.get("Circle").__name__ == "Circle"
    assert shapes.get("box") == 4


def test_register_gives_its_object_back_so_that_it_decorates():
    registry = Registry("shape")

    @registry.register()
    def square():
        return 4

    assert square() == 4


def test_in_tells_whether_a_name_is_registered(shapes):
    assert "box" in shapes
    assert "Box" not in shapes


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names(shapes):
    expected = "no shape 'circle'; did you mean 'Circle'? registered: Circle, box"
    with pytest.raises(ValueError) as error:
        shapes.get("circle")
    assert str(error.value) == expected


def test_a_name_without_neighbours_is_answered_with_all_names(shapes):
    with pytest.raises(ValueError, match=r"^no shape 'zzz'; registered: Circle, box$"):
        shapes.get("zzz")


def test_a_name_cannot_be_taken_twice(shapes):
    with pytest.raises(ValueError, match="'box' is already registered"):
        shapes.register("box")(5)
