import unittest

import numpy as np

from tools.shapes.draw import draw_scene, mask_of
from tools.shapes.world import CLEAR, MAX_SHAPES, SIDE, TIE, Scene, Shape, image_size, make_scene, order, related


def scenes(count: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [make_scene(rng, *image_size(rng, 60, 600)) for _ in range(count)]


class Layout(unittest.TestCase):
    def test_image_sizes_stay_within_one_to_three(self) -> None:
        rng = np.random.default_rng(1)
        for _ in range(500):
            width, height = image_size(rng, 60, 2000)
            self.assertLessEqual(max(width, height), 3 * min(width, height))

    def test_every_scene_keeps_the_rules_of_its_world(self) -> None:
        for scene in scenes(400):
            self.assertIn(len(scene.shapes), range(1, MAX_SHAPES + 1))
            self.assertEqual(len({s.name for s in scene.shapes}), len(scene.shapes))
            for i, shape in enumerate(scene.shapes):
                x0, y0, x1, y1 = shape.box
                self.assertTrue(0 < x0 < x1 < 1 and 0 < y0 < y1 < 1)
                low, high = SIDE[shape.size]
                self.assertTrue(low - 1e-9 <= ((x1 - x0) * (y1 - y0)) ** 0.5 <= high + 1e-9)
                for other in scene.shapes[:i]:
                    a, b = shape.box, other.box
                    self.assertTrue(a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1])
                    for axis in (0, 1):
                        gap = abs(shape.center[axis] - other.center[axis])
                        self.assertFalse(TIE < gap < CLEAR)

    def test_every_count_occurs(self) -> None:
        self.assertEqual({len(s.shapes) for s in scenes(200)}, set(range(1, 7)))

    def test_same_seed_draws_the_same_picture(self) -> None:
        pictures = []
        for _ in range(2):
            rng = np.random.default_rng(5)
            pictures.append(draw_scene(rng, make_scene(rng, 200, 150)).tobytes())
        self.assertEqual(*pictures)


class Order(unittest.TestCase):
    def shape(self, x: float, y: float, color: str) -> Shape:
        return Shape("circle", color, "small", (x - 0.05, y - 0.05, x + 0.05, y + 0.05))

    def test_left_to_right_then_a_column_from_the_top(self) -> None:
        a, b, c = self.shape(0.7, 0.2, "red"), self.shape(0.305, 0.3, "blue"), self.shape(0.3, 0.8, "green")
        self.assertEqual(order([a, c, b]), [b, c, a])

    def test_relations_leave_out_what_is_level(self) -> None:
        a, b, c = self.shape(0.2, 0.5, "red"), self.shape(0.6, 0.505, "blue"), self.shape(0.8, 0.9, "green")
        scene = Scene(100, 100, (a, b, c))
        self.assertEqual(related(scene, b, "left"), [a])
        self.assertEqual(related(scene, b, "above"), [])
        self.assertEqual(related(scene, b, "below"), [c])


class Drawing(unittest.TestCase):
    def test_what_is_drawn_fills_its_box(self) -> None:
        for scene in scenes(60, seed=3):
            for shape in scene.shapes:
                cover, left, top = mask_of(shape, scene.width, scene.height)
                ys, xs = np.nonzero(cover > 0.5)
                found = (left + xs.min(), top + ys.min(), left + xs.max() + 1, top + ys.max() + 1)
                wanted = [v * s for v, s in zip(shape.box, (scene.width, scene.height) * 2)]
                # The tips of stars and triangles cover less than half a pixel for a few rows.
                slack = 1.1 if shape.kind in ("circle", "square") else max(2.5, 0.08 * (wanted[2] - wanted[0]))
                for got, want in zip(found, wanted):
                    self.assertLessEqual(abs(got - want), slack, (shape, found, wanted))


if __name__ == "__main__":
    unittest.main()
