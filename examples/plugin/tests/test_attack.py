from auscult_example.attack import RANK

from auscult.testing import check_attack


def test_the_attack_is_one() -> None:
    check_attack(RANK)
