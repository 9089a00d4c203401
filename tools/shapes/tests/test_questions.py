import re
import unittest

import numpy as np

from tools.shapes.evaluate import iou, judge
from tools.shapes.questions import KINDS, Turn, ask, conversation, grounded, listing, random_turn
from tools.shapes.tests.test_world import scenes
from tools.shapes.world import COLORS, SHAPES, Scene, Shape


class Answers(unittest.TestCase):
    def setUp(self) -> None:
        self.red = Shape("circle", "red", "large", (0.1, 0.1, 0.4, 0.4))
        self.blue = Shape("square", "blue", "small", (0.6, 0.6, 0.75, 0.75))
        self.scene = Scene(400, 400, (self.blue, self.red))
        self.rng = np.random.default_rng(0)

    def test_caption_lists_left_to_right(self) -> None:
        turn = ask(self.rng, self.scene, "caption")
        assert turn is not None
        self.assertEqual(turn.answer, "a large red circle and a small blue square")

    def test_listing(self) -> None:
        self.assertEqual(listing([]), "nothing")
        self.assertEqual(listing([self.red, self.blue, self.red]), "a large red circle, a small blue square and a large red circle")

    def test_box_is_in_thousandths_rounded_to_tens(self) -> None:
        self.assertEqual(grounded(self.blue), "<ref>blue square</ref><box>[[600, 600, 750, 750]]</box>")

    def test_counts_agree_with_the_scene(self) -> None:
        for scene in scenes(100, seed=8):
            for kind, words in (("count_shape", SHAPES), ("count_color", COLORS)):
                turn = ask(self.rng, scene, kind)
                assert turn is not None
                asked = next(w for w in words if w in turn.question)
                self.assertEqual(int(turn.answer), sum(asked in (s.kind, s.color) for s in scene.shapes))

    def test_existence_agrees_with_the_scene(self) -> None:
        for scene in scenes(150, seed=9):
            turn = ask(self.rng, scene, "exist")
            assert turn is not None
            kind = next(k for k in SHAPES if k in turn.question)
            color = next((c for c in COLORS if re.search(rf"\b{c}\b", turn.question)), None)
            there = any(s.kind == kind and color in (None, s.color) for s in scene.shapes)
            self.assertEqual(turn.answer, "yes" if there else "no")

    def test_a_look_up_names_one_shape_and_not_the_attribute_asked_for(self) -> None:
        for scene in scenes(200, seed=10):
            turn = ask(self.rng, scene, "color")
            if turn is not None and turn.subject is not None:
                self.assertNotIn(turn.answer, turn.question.split())
                self.assertIn(turn.subject.kind, turn.question)

    def test_relation_with_nothing_there_occurs(self) -> None:
        answers = [random_turn(self.rng, s, "relation").answer for s in scenes(200, seed=11)]
        self.assertGreater(answers.count("nothing"), 20)

    def test_every_kind_can_be_asked(self) -> None:
        for kind in KINDS:
            self.assertTrue(any(random_turn(self.rng, s, kind).kind == kind for s in scenes(5)))

    def test_follow_ups_say_it_only_after_a_subject(self) -> None:
        for scene in scenes(100, seed=12):
            talk = conversation(self.rng, scene, 4)
            self.assertEqual(len(talk), 4)
            for before, turn in zip([None, *talk], talk):
                if re.search(r"\bit\b", turn.question.lower()):
                    assert before is not None
                    self.assertIs(turn.subject, before.subject)


class Judging(unittest.TestCase):
    def test_iou(self) -> None:
        self.assertAlmostEqual(iou((0, 0, 2, 2), (1, 0, 3, 2)), 1 / 3)
        self.assertEqual(iou((0, 0, 1, 1), (2, 2, 3, 3)), 0)

    def test_a_box_counts_by_overlap_and_name(self) -> None:
        shape = Shape("circle", "red", "large", (0.1, 0.1, 0.4, 0.4))
        turn = Turn("ground", "Where is the circle?", grounded(shape), shape)
        self.assertTrue(judge(turn, "<ref>red circle</ref><box>[[100, 100, 390, 410]]</box>")[0])
        self.assertFalse(judge(turn, "<ref>blue circle</ref><box>[[100, 100, 400, 400]]</box>")[0])
        self.assertFalse(judge(turn, "<ref>red circle</ref><box>[[600, 100, 900, 400]]</box>")[0])
        self.assertFalse(judge(turn, "over there")[0])


if __name__ == "__main__":
    unittest.main()
