"""Log-odds of a release, which more models tell of than of the shadow models that play it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from auscult.attacks.layout import lay_out
from auscult.cohort.design import Design
from auscult.release.claims import MOST, Claims, claims_of
from auscult.release.members import MEMBER, OUTSIDER
from auscult.release.named import named_at, sides_of
from auscult.release.ratios import FOLDS, Ratios, ratios
from auscult.release.transfer import transfer
from tests.test_release_shares import asked

EFFECT = 1.2
RELEASES = 12


def played(
    noise: float,
    *,
    effect: float = EFFECT,
    share: float = 0.8,
    patients: int = 1500,
    models: int = 40,
    seed: int = 0,
) -> tuple[Ratios, NDArray[np.bool_], NDArray[np.bool_]]:
    """Two Gaussians; players are seen through noise, and so is the release, fold by fold."""
    rng = np.random.default_rng(seed)
    member = rng.random((patients, models)) < share
    inside = rng.random((patients, RELEASES)) < share

    def seen(of: NDArray[np.bool_]) -> NDArray[np.float64]:
        return effect * of + rng.normal(size=of.shape)

    own = seen(inside)
    folds = own + noise * rng.normal(size=(FOLDS, *own.shape))
    shadow = seen(member) + noise * rng.normal(size=member.shape)
    found = Ratios(
        shadow=(shadow - effect / 2).astype(np.float32),
        fold=np.broadcast_to(np.arange(models) % FOLDS, member.shape).astype(np.int8),
        releases=own - effect / 2,
        like_shadow=folds - effect / 2,
        neighbours={},
    )
    return found, member, inside


def off(claims: Claims, inside: NDArray[np.bool_], share: float) -> NDArray[np.float64]:
    """Members expected among the named less those there are, in deviations, release by release."""
    p = expit(claims.releases + logit(share))
    named = claims.releases >= 0
    away = np.where(named, p - inside, 0.0).sum(axis=0)
    return np.asarray(away / np.sqrt(np.where(named, p * (1 - p), 0.0).sum(axis=0)))


@pytest.mark.parametrize("total", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.6, 1.0])
def test_what_more_models_tell_is_claimed(noise: float, *, total: bool) -> None:
    """The log-odds learned through noise are 1 / (1 + noise^2) of what the release's own tell."""
    found, member, inside = played(noise)
    claims = claims_of(found, member, 0.8, inside if total else None)
    assert claims.stretch.mean() == pytest.approx(1 + noise**2, abs=0.06)
    true = EFFECT * found.releases
    middle = np.abs(true) < 1.5
    assert np.abs(claims.releases - true)[middle].mean() < 0.15
    # Of 12 releases that share what was learned: three errors of a mean, and a little for that.
    assert abs(off(claims, inside, 0.8).mean()) < 3 / np.sqrt(RELEASES) + 0.2
    if total:
        added = expit(claims.releases + logit(inside.mean(axis=0))).sum(axis=0)
        np.testing.assert_allclose(added, inside.sum(axis=0), atol=0.01)


@pytest.mark.parametrize(
    ("noise", "effect", "share", "patients"),
    [(1.5, 0.5, 0.9, 300), (1.0, 0.8, 0.8, 300), (2.0, 0.5, 0.95, 600)],
)
def test_the_interval_of_expected_members_holds(
    noise: float, effect: float, share: float, patients: int
) -> None:
    """Not stretched, it held the number in 76, 55 and 72% of releases."""
    held, number, plainly = 0, 0, []
    for seed in range(10):
        found, member, inside = played(
            noise, effect=effect, share=share, patients=patients, seed=seed
        )
        claims = claims_of(found, member, share, inside)
        for one in range(RELEASES):
            state = inside[:, one]
            sides = sides_of(asked(state), claims.shadow, member, claims.releases[:, one], 10)
            true = int(state[claims.releases[:, one] >= 0].sum())
            given = (0.5, 0.5, float(state.mean()))
            row = named_at(sides, *given, total=True, plain=claims.plain[:, one])
            expected = row["expected_members"]
            held += expected["low"] <= true <= expected["high"]
            number += 1
            narrow = named_at(sides, *given, total=True)["expected_members"]
            plainly.append((expected["high"] - expected["low"]) / (narrow["high"] - narrow["low"]))
    assert held / number >= 0.93
    # What stretching adds is an error besides, and no more than half of the interval.
    assert 1 < np.mean(plainly) < 1.5


def test_where_nothing_leaks_little_is_claimed() -> None:
    for noise in (0.0, 1.0, 3.0):
        found, member, inside = played(noise, effect=0.0)
        claims = claims_of(found, member, 0.8, inside)
        assert ((claims.stretch >= 1) & (claims.stretch <= MOST)).all()
        # Of 60,000 pairs, 400 in a step at least: what is claimed is the error of counting them.
        assert np.abs(claims.releases).mean() < 0.12
        assert abs(off(claims, inside, 0.8).mean()) < 1.1
    # Folds that say the same of everybody say nothing of how far to go.
    found.like_shadow[:] = 0.0
    assert (claims_of(found, member, 0.8).stretch == 1.0).all()


def test_a_release_is_set_beside_players_as_one_of_them() -> None:
    """By all models it looks surer on both sides, and would be taken to be off."""
    found, member, inside = played(1.0, patients=3000)
    claims = claims_of(found, member, 0.8)
    away: dict[str, list[float]] = {"alike": [], "release": []}
    for one in range(RELEASES):
        state = np.where(inside[:, one], MEMBER, OUTSIDER).astype(np.int8)
        for name, own in (("alike", claims.like_shadow), ("release", claims.releases)):
            told = transfer(
                claims.shadow, member, own[:, one], state, reasons={MEMBER: "", OUTSIDER: ""}
            )
            away[name].append(
                told["members"]["difference"]["estimate"]
                - told["non_members"]["difference"]["estimate"]
            )
    assert abs(np.mean(away["alike"])) < 0.02
    assert np.mean(away["release"]) > 0.05


def test_who_cannot_be_judged_has_no_claim() -> None:
    found, member, inside = played(0.6, patients=300)
    for values in (found.shadow, found.releases, found.like_shadow[2]):
        values[7] = np.nan
    claims = claims_of(found, member, 0.8, inside)
    for array in (claims.shadow, claims.releases, claims.like_shadow):
        assert np.isnan(array[7]).all()
        assert np.isfinite(np.delete(array, 7, axis=0)).all()
    assert np.isfinite(claims.stretch).all()


def test_a_release_is_scored_by_the_folds_as_a_player_is() -> None:
    rng = np.random.default_rng(2)
    patients, models, played_by = 60, 40, 3
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    member = Design(models=models, patients=patients, seed=1, share=0.8).membership().reveal()
    signals = rng.normal(size=(models, patient.size)) + 1.5 * member[:, patient]
    both = np.vstack([signals, signals[played_by]]).astype(np.float32)
    hidden = np.vstack([member, np.zeros((1, patients), dtype=np.bool_)])
    found = ratios(lay_out(both, hidden, patient), centred=True)
    rows = np.arange(patients)
    own = found.like_shadow[found.fold[:, played_by], rows, 0]
    np.testing.assert_allclose(own, found.shadow[:, played_by], rtol=1e-5)
    # Folds that learned from the model itself know more of it.
    assert np.abs(found.releases[:, 0] - own).max() > 0.1
