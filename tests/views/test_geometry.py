import jax
import jax.numpy as jnp
import numpy as np
import pytest

from histo_simclr.views import geometry

DRAWS = 100_000


def placed(box, *, flip_y=False, flip_x=False, turns=0):
    numbers = [jnp.array([value], jnp.int32) for value in box]
    flips = [jnp.array([flip]) for flip in (flip_y, flip_x)]
    upright = geometry.Placement(jnp.array([False]), *numbers, *flips)
    return geometry.turned(upright, jnp.array([turns]))


def draw(shape, **changes):
    numbers = {
        "crop_scale": (0.2, 1.0),
        "crop_ratio": (3 / 4, 4 / 3),
        "horizontal_flip": 0.5,
        "vertical_flip": 0.3,
        "quarter_turn": 0.8,
    } | changes
    chances = jax.random.uniform(jax.random.key(7), (DRAWS, geometry.CHANCES), jnp.float32)
    drawn = jax.jit(jax.vmap(lambda row: geometry.draw(row, shape=shape, **numbers)))(chances)
    return geometry.Placement(*map(np.asarray, drawn))


@pytest.mark.parametrize(
    ("px", "name"),
    [(224, "large"), *((96, name) for name in ("whole", "large", "wide", "same96", "small"))],
)
def test_crop_and_resize_are_torchvision_s(px, name, golden, golden_info, pictures, dtype):
    box = golden_info["boxes_top_left_height_width"][name]
    view = geometry.resample(golden["ihc"][None], placed(box), px=px, dtype=dtype)
    np.testing.assert_allclose(
        pictures(view)[0],
        golden[f"crop{px}/{name}"],
        rtol=0,
        atol=1e-7 if dtype == np.float64 else 2e-5,
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("hflip", {"flip_x": True}),
        ("vflip", {"flip_y": True}),
        *((f"rot90/{k}", {"turns": k}) for k in (1, 2, 3)),
    ],
)
def test_flips_and_turns_of_the_whole_patch_are_torchvision_s(name, changes, golden, pictures):
    for i, tile in enumerate(golden["tiles"]):
        placement = placed((0, 0, 64, 64), **changes)
        view = geometry.resample(tile[None], placement, px=64, dtype=jnp.float32)
        np.testing.assert_allclose(pictures(view)[0], golden[name][i], rtol=0, atol=1e-7)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize(("flip_y", "flip_x"), [(False, True), (True, False), (True, True)])
def test_flips_come_before_turns_and_both_after_the_crop(turns, flip_y, flip_x, golden, pictures):
    tile = golden["tiles"][:1, :, :48]  # not square
    upright = geometry.resample(tile, placed((5, 9, 40, 30)), px=32, dtype=jnp.float32)
    expected = pictures(upright)[0]
    expected = expected[::-1] if flip_y else expected
    expected = np.rot90(expected[:, ::-1] if flip_x else expected, turns)
    placement = placed((5, 9, 40, 30), flip_y=flip_y, flip_x=flip_x, turns=turns)
    view = geometry.resample(tile, placement, px=32, dtype=jnp.float32)
    np.testing.assert_allclose(pictures(view)[0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(224, 224), (384, 512)])
def test_boxes_are_distributed_as_torchvision_s(shape, golden_info):
    drawn = draw(shape, quarter_turn=0.0)
    high, wide = shape
    names = "area_fraction log_aspect_w_over_h centre_y centre_x height_fraction width_fraction"
    values = (
        drawn.height * drawn.width / (high * wide),
        np.log(drawn.width / drawn.height),
        (drawn.top + drawn.height / 2) / high,
        (drawn.left + drawn.width / 2) / wide,
        drawn.height / high,
        drawn.width / wide,
    )
    golden = golden_info["random_resized_crop_scale_0.2_1_ratio_3/4_4/3"]
    golden = golden[f"torchvision_{high}x{wide}"]
    for name, ours in zip(names.split(), values, strict=True):
        theirs = golden[name]
        # 4 combined standard errors; both samples have 100,000 boxes.
        assert abs(ours.mean() - theirs["mean"]) < 4 * np.sqrt(2) * theirs["mean_se"], name
        assert abs(ours.std() - theirs["std"]) < 4 * np.sqrt(2) * theirs["std_se"], name
        quantiles = np.quantile(ours, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
        given = theirs["quantiles_01_05_25_50_75_95_99"]
        np.testing.assert_allclose(quantiles, given, rtol=0, atol=6e-3, err_msg=name)
    correlation = np.corrcoef(values[0], values[1])[0, 1]
    assert abs(correlation - golden["correlation_area_logaspect"]) < 0.02


def test_boxes_lie_inside_the_patch_and_turn_with_it():
    drawn = draw((60, 100), quarter_turn=1.0)
    high = np.where(drawn.transpose, 100, 60)
    wide = np.where(drawn.transpose, 60, 100)
    assert (drawn.top >= 0).all()
    assert (drawn.left >= 0).all()
    assert (drawn.top + drawn.height <= high).all()
    assert (drawn.left + drawn.width <= wide).all()
    assert (drawn.top + drawn.height == high).any()


@pytest.mark.parametrize(
    ("shape", "box"), [((100, 400), (0, 133, 100, 133)), ((400, 100), (133, 0, 133, 100))]
)
def test_where_no_box_fits_the_largest_central_one_is_taken(shape, box):
    # As torchvision computes it: int(round(100 · 4/3)) = 133, (400 - 133) // 2 = 133.
    drawn = draw(shape, crop_scale=(1.0, 1.0), quarter_turn=0.0)
    for field, expected in zip(("top", "left", "height", "width"), box, strict=True):
        assert (getattr(drawn, field) == expected).all(), field


def test_turns_and_flips_have_their_probabilities():
    drawn = draw((224, 224))
    # Of the placements, odd turns transpose: 0.8 · 1/2. Flips and turns together, by enumeration:
    # P(transpose, flip_y, flip_x) with P(turns) = (0.4, 0.2, 0.2, 0.2).
    expected = np.zeros((2, 2, 2))
    for turns, p_turn in enumerate((0.4, 0.2, 0.2, 0.2)):
        for y, p_y in ((0, 0.7), (1, 0.3)):
            for x, p_x in ((0, 0.5), (1, 0.5)):
                # numpy says what a turn of a picture with distinct corners is, in our terms.
                picture = np.arange(4).reshape(2, 2)
                picture = picture[::-1] if y else picture
                picture = np.rot90(picture[:, ::-1] if x else picture, turns)
                for code in np.ndindex(2, 2, 2):
                    ours = np.arange(4).reshape(2, 2)
                    ours = ours.T if code[0] else ours
                    ours = ours[::-1] if code[1] else ours
                    ours = ours[:, ::-1] if code[2] else ours
                    if (ours == picture).all():
                        expected[code] += p_turn * p_y * p_x
    np.testing.assert_allclose(expected.sum(), 1)
    fields = zip(drawn.transpose, drawn.flip_y, drawn.flip_x, strict=True)
    found = np.zeros((2, 2, 2))
    codes, counts = np.unique(np.array(list(fields), int), axis=0, return_counts=True)
    found[tuple(codes.T)] = counts / DRAWS
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.sqrt(0.25 / DRAWS))


def test_nothing_moves_at_probability_0():
    drawn = draw((48, 48), horizontal_flip=0.0, vertical_flip=0.0, quarter_turn=0.0)
    assert not (drawn.flip_x | drawn.flip_y | drawn.transpose).any()
