import tempfile
import unittest
from pathlib import Path

import numpy as np

from tools.shapes import prompt
from tools.shapes.data import Packer, Pool, detection_targets, grid_of, tiles_of, write_pool
from tools.shapes.draw import draw_scene
from tools.shapes.folder import write_processor
from tools.shapes.tokenizer import build_tokenizer
from tools.shapes.world import image_size, make_scene

TOKENIZER = build_tokenizer()


class Tokens(unittest.TestCase):
    def test_every_coordinate_is_one_token(self) -> None:
        for n in range(0, 1001, 10):
            self.assertEqual(len(TOKENIZER.encode(str(n)).ids), 1, n)

    def test_text_survives_a_round_trip(self) -> None:
        for text in ("What COLOUR is the star?", "naïve – 12 34\n\n  ü", "<ref>red circle</ref><box>[[0, 10, 990, 1000]]</box>", "日本"):
            self.assertEqual(TOKENIZER.decode(TOKENIZER.encode(text).ids, skip_special_tokens=True), text)


class Reference(unittest.TestCase):
    """Training sees what the reference's processor gives."""

    @classmethod
    def setUpClass(cls) -> None:
        from transformers import AutoProcessor
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

        with tempfile.TemporaryDirectory() as folder:
            write_processor(Path(folder), TOKENIZER)
            (Path(folder) / "config.json").write_text('{"model_type": "internvl"}')
            cls.processor = AutoProcessor.from_pretrained(folder)
            cls.processor.image_processor = GotOcr2ImageProcessorPil.from_pretrained(folder)

    def test_tiles_and_grid(self) -> None:
        rng = np.random.default_rng(4)
        for size in [(112, 112), (158, 158), (159, 159), (640, 480), (300, 200), (100, 300), (60, 60), *(image_size(rng, 60, 500) for _ in range(20))]:
            image = draw_scene(rng, make_scene(rng, *size, count=2))
            ours, _ = tiles_of(image)
            theirs = self.processor.image_processor(image, return_tensors="np", do_normalize=False, do_rescale=False)["pixel_values"]
            np.testing.assert_array_equal(ours, np.asarray(theirs, np.uint8))

    def test_prompt(self) -> None:
        rng = np.random.default_rng(4)
        image = draw_scene(rng, make_scene(rng, 640, 480))
        content = [{"type": "image"}, {"type": "text", "text": "Describe the image."}]
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        ids = self.processor(images=[image], text=text)["input_ids"][0]
        self.assertEqual(list(ids), TOKENIZER.encode(prompt.prefix(5) + prompt.asked("Describe the image.")).ids)


class Batches(unittest.TestCase):
    def test_grid(self) -> None:
        self.assertEqual(grid_of(640, 480), (2, 2))
        self.assertEqual(grid_of(120, 120), (1, 1))
        self.assertEqual(grid_of(300, 100), (3, 1))
        self.assertEqual(grid_of(100, 200), (1, 2))

    def test_each_centre_is_a_target_once_a_tile_layer(self) -> None:
        rng = np.random.default_rng(2)
        scene = make_scene(rng, 640, 480, count=1)
        kinds = detection_targets(scene, (2, 2))["kind"]
        self.assertEqual(len(kinds), 5 * 16)
        self.assertEqual((kinds[:64] >= 0).sum(), 1)
        self.assertEqual((kinds[64:] >= 0).sum(), 1)

    def test_labels_spell_the_answers(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_pool(Path(folder), seed=1, shards=1, scenes=8)
            pool = Pool(Path(folder))
            batch = Packer(TOKENIZER).pack(np.random.default_rng(0), pool.items, detect=False)  # type: ignore[arg-type]
        for index, (row, turn) in enumerate(batch.turns):
            at = (batch.labels[row] >= 0) & (batch.owner[row] == index)
            self.assertEqual(TOKENIZER.decode(batch.labels[row][at].tolist(), skip_special_tokens=True), turn.answer)
        self.assertEqual(len(batch.tiles) * 16, (batch.ids == TOKENIZER.token_to_id("<IMG_CONTEXT>")).sum())


if __name__ == "__main__":
    unittest.main()
