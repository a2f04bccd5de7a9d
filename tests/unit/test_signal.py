"""Signal-to-noise ratios that can be told by hand."""

import math

import numpy as np
import pytest

from edgepress.measure.signal import Signal, compare, snr_db

RANDOM = np.random.default_rng(0)


def measured(actual, expected) -> Signal:
    return compare(np.asarray(actual), np.asarray(expected), len(expected))


def test_the_ratio_is_that_of_the_powers():
    expected = np.array([[3.0, 4.0], [-3.0, 4.0]])
    assert snr_db(expected * 1.1, expected) == pytest.approx(20)
    assert snr_db(expected * 1.1e-6, expected * 1e-6) == pytest.approx(20)  # tiny ones alike
    assert snr_db(expected, expected) == math.inf
    assert measured(expected * 1.1, expected).max_abs_diff == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("shape", "axis", "place"),
    [
        ((8, 5), 1, "[:, 4]"),
        ((8, 5, 6), 1, "[:, 4]"),
        ((8, 6, 5), 2, "[:, :, 4]"),
        ((8, 5, 3, 2), 1, "[:, 4]"),
    ],
)
def test_channels_of_another_magnitude_count_for_themselves(shape, axis, place):
    expected = RANDOM.uniform(0, 1, shape)
    factors = np.array([320, 320, 320, 320, 1]).reshape(
        [5 if one == axis else 1 for one in range(len(shape))]
    )
    expected = expected * factors
    actual = np.where(factors == 1, 0, expected)  # all scores lost, boxes exact
    found = measured(actual, expected)
    assert (found.snr_db, found.part) == (pytest.approx(0), place)
    whole = 10 * math.log10((expected**2).sum() / ((actual - expected) ** 2).sum())
    assert whole > 50  # of which the whole output tells nothing


def test_parts_are_named_as_numpy_would_index_them():
    factors = np.array([1000, 1000, 1, 1, 1, 1000])
    expected = RANDOM.uniform(1, 2, (4, 6)) * factors
    assert measured(expected + (factors == 1), expected).part == "[:, 2:5]"
    assert measured(expected + 900 * (factors > 1), expected).part == "[:, [0, 1, 5]]"
    many = np.resize([1, 1000], 10)
    expected = RANDOM.uniform(1, 2, (4, 10)) * many
    assert measured(expected + (many == 1), expected).part == "[:, [0, 2, 4, ...]]"


def test_channels_whose_magnitudes_run_on_are_measured_together():
    expected = RANDOM.uniform(0, 1, (64, 12)) * 2.0 ** -np.arange(12)
    actual = np.round(expected * 256) / 256  # the smallest are lost, as they should be with one scale
    assert measured(actual, expected).part == ""
    assert snr_db(actual, expected) > 40


def test_shares_that_sum_to_one_are_no_parts():
    exponents = np.exp(RANDOM.normal(size=(16, 5)) * 2 + [9, 9, 0, -9, -9])
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    actual = np.round(expected * 256) / 256
    assert (actual[:, 3:] == 0).all()
    assert (measured(actual, expected).part, snr_db(actual, expected) > 40) == ("", True)
    assert snr_db(actual * 320, expected * 320) == 0  # but what is small in other sums is lost


def test_zeros_and_rounding_are_no_parts():
    expected = RANDOM.uniform(1, 2, (8, 3)) * [1, 0, 1e-8]
    assert snr_db(expected + np.array([0, 0, 1e-8]), expected) > 100
    assert snr_db(expected + np.array([0, 1, 0]), expected) < 10  # though the whole still tells


def test_nan_and_infinity_have_to_be_at_the_same_elements():
    expected = np.array([[1.0, np.nan], [np.inf, -np.inf]])
    assert measured(expected, expected).snr_db == math.inf
    for wrong in ([[1.0, 0], [np.inf, -np.inf]], [[1.0, np.nan], [np.inf, np.inf]], [[np.nan] * 2] * 2):
        found = measured(wrong, expected)
        assert (found.snr_db, found.alike) == (-math.inf, False)
    assert not measured([[np.nan, 1.0]], [[1.0, 1.0]]).alike


def test_integers_are_equal_or_not():
    expected = np.arange(1000).reshape(10, 100)
    actual = expected.copy()
    actual[0, :10] += 500
    found = measured(actual, expected)
    assert (found.integer, found.snr_db) == (True, pytest.approx(20))  # 1% of them differ
    assert measured(expected > 500, expected > 500).snr_db == math.inf


def test_constant_outputs_are_told():
    constant = np.full((4, 3), 7.0)
    assert not measured(constant, constant).varies
    assert measured(constant[:1], constant[:1]).varies  # one sample cannot tell
    assert measured(RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(4, 3))).varies
    zeros = np.zeros((4, 3))
    assert (snr_db(zeros, zeros), snr_db(zeros + 1, zeros)) == (math.inf, -math.inf)


def test_noise_that_drowns_what_differs_between_samples_is_told():
    expected = 300 + 0.1 * RANDOM.normal(size=(32, 4))
    coarse = np.round(expected / 2) * 2
    found = measured(coarse, expected)
    assert found.snr_db > 40 and found.drowned
    assert not measured(expected + 1e-3, expected).drowned


def test_top1_is_the_share_of_rows_with_the_same_largest_element():
    expected = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    assert measured(expected[:, ::-1], expected).top1 == 0
    assert measured(np.where(expected == 3, -1, expected), expected).top1 == 0.75
    tokens = np.eye(4)[[[0, 1, 2], [3, 3, 1]]]  # (samples, tokens, classes)
    assert measured(tokens[:, ::-1], tokens).top1 == pytest.approx(1 / 3)
    assert measured(np.ones((2, 2, 2, 2)), np.ones((2, 2, 2, 2))).top1 is None
    assert measured(np.ones((2, 2), int), np.ones((2, 2), int)).top1 is None
    assert measured(np.ones((2, 1)), np.ones((2, 1))).top1 is None
