from auscult_example.recipe import Centroids

from auscult.testing import check_recipe


def test_the_recipe_is_one() -> None:
    check_recipe(Centroids())
