"""Trains the model within a time budget: python -m tools.shapes.train --minutes 60 --pool POOL --out RUN

Stage 1 trains the vision tower and projector with a detection head; stage 2 trains everything on packed
questions and answers, the detection loss fading out. The first part of stage 2 shows most pictures as one
whole-image tile, in short sequences: what is where is learnt there, at a third of the cost. Each worker is a
process of one thread with a batch of its own (small matrices gain little from threads); gradients are
averaged over them. A run resumes from its last checkpoint.
"""
from __future__ import annotations

import argparse
import json
import math
import queue
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from transformers import InternVLForConditionalGeneration

from .data import SHORT, Batch, Packer, Pool, detection_targets, stack_targets
from .folder import LAYERS, load_grown, new_model, write_model, write_processor
from .losses import Detector, answer_logits, answer_loss, see, soft_targets
from .questions import TRAINING, favour
from .tokenizer import build_tokenizer

PEAK = 1e-3
WARMUP = 100
EASY = 0.5  # the share of stage 2 that shows most pictures as one tile


def ahead(make: Callable[[], object], depth: int = 2) -> Callable[[], object]:
    """Runs `make` in a thread that stays `depth` results ahead."""
    ready: queue.Queue[object] = queue.Queue(depth)

    def work() -> None:
        while True:
            ready.put(make())

    threading.Thread(target=work, daemon=True).start()
    return ready.get


def grouped(*modules: torch.nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices only."""
    decay, plain = [], []
    for module in modules:
        for name, p in module.named_parameters():
            (decay if p.ndim >= 2 and "embed" not in name and "cls_token" not in name else plain).append(p)
    return [{"params": decay, "weight_decay": 0.03}, {"params": plain, "weight_decay": 0.0}]


class Clock:
    """Seconds spent in a stage, over all runs that worked on it."""

    def __init__(self, budget: float, spent: float = 0.0) -> None:
        self.budget, self.spent, self.last = budget, spent, time.monotonic()

    def tick(self) -> float:
        """The share of the budget used, 0..1; a pause of the machine does not count."""
        now = time.monotonic()
        self.spent += min(now - self.last, 30)
        self.last = now
        return min(1.0, self.spent / self.budget)


def rate(step: int, done: float, floor: float, peak: float = PEAK) -> float:
    return peak * min(1.0, (step + 1) / WARMUP) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


class Run:
    def __init__(self, pool: Path, val: Path, out: Path, batch: int, seed: int = 0, rank: int = 0, workers: int = 1,
                 start: Path | None = None, peak: float = PEAK, ask: dict[str, float] | None = None, easy: float = EASY, layers: int = LAYERS) -> None:
        self.out, self.size, self.rank, self.workers, self.peak, self.easy_share = out, batch // workers, rank, workers, peak, easy
        out.mkdir(parents=True, exist_ok=True)
        self.tokenizer = build_tokenizer()
        favour({**TRAINING, **(ask or {})})  # after the tokenizer is built: its vocabulary depends on the questions' own weights
        self.packer = Packer(self.tokenizer)
        self.model = new_model(self.tokenizer, seed, layers)
        self.head = Detector(self.model.config.text_config.hidden_size)
        self.pool, self.val = Pool(pool), Pool(val)
        again = int(time.time()) if (out / "checkpoint.pt").exists() else 0  # a resumed run draws other batches
        self.rng = np.random.default_rng([seed + 17, rank, again])
        self.dice = np.random.default_rng([seed + 18])  # the same in all workers: batches of one step cost the same
        self.table = soft_targets(self.packer.numbers, self.tokenizer.get_vocab_size())
        self.easy = True
        self.saved: dict[str, object] = {}
        if (out / "checkpoint.pt").exists():
            self.saved = torch.load(out / "checkpoint.pt", weights_only=True)
            self.model.load_state_dict(self.saved["model"])  # type: ignore[arg-type]
            self.head.load_state_dict(self.saved["head"])  # type: ignore[arg-type]
        elif start is not None:
            self.begin_from(start)

    def begin_from(self, start: Path) -> None:
        """The weights of an earlier run's checkpoint, or of a model folder (which has no detection head); they may
        have fewer text layers."""
        if start.is_dir():
            given = InternVLForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
            load_grown(self.model, given.state_dict())
        else:
            saved = torch.load(start, weights_only=True)
            load_grown(self.model, saved["model"])
            self.head.load_state_dict(saved["head"])

    def pick(self, count: int) -> list[tuple[np.ndarray, object, tuple[int, int]]]:
        return [self.pool.items[i] for i in self.rng.integers(0, len(self.pool.items), count)]

    def agree(self, done: float) -> float:
        """The first worker's clock is everyone's."""
        if self.workers == 1:
            return done
        shared = torch.tensor([done], dtype=torch.float64)
        dist.broadcast(shared, 0)
        return float(shared)

    def average(self, params: list[torch.Tensor]) -> None:
        """Averages the gradients over the workers."""
        if self.workers == 1:
            return
        with_grad = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
        flat = torch.cat([g.reshape(-1) for g in with_grad])
        dist.all_reduce(flat)
        flat /= self.workers
        for p, part in zip(params, flat.split([p.numel() for p in params])):
            p.grad = part.view_as(p)

    def save(self, stage: int, step: int, clock: Clock, optimizer: torch.optim.Optimizer) -> None:
        if self.rank:
            return
        state = {"model": self.model.state_dict(), "head": self.head.state_dict(), "optimizer": optimizer.state_dict(),
                 "stage": stage, "step": step, "spent": clock.spent}
        torch.save(state, self.out / "checkpoint.tmp")
        (self.out / "checkpoint.tmp").rename(self.out / "checkpoint.pt")

    def log(self, **facts: object) -> None:
        if self.rank:
            return
        line = json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in facts.items()})
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")

    def looks(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Stage 1: of each scene the whole-image tile and, half the time, one of the others."""
        tiles, targets = [], []
        for pixels, scene, grid in self.pick(self.size):
            facts = detection_targets(scene, grid)  # type: ignore[arg-type]
            chosen = [len(pixels) - 1] + ([int(self.rng.integers(len(pixels) - 1))] if len(pixels) > 1 and self.rng.random() < 0.5 else [])
            for i in chosen:
                tiles.append(pixels[i])
                targets.append({k: v[i * 16 : i * 16 + 16] for k, v in facts.items()})
        return np.stack(tiles), stack_targets(targets)

    def talks(self) -> Batch:
        """Stage 2: packed questions and answers."""
        if self.dice.random() < (0.93 if self.easy else 0.35):
            return self.packer.pack(self.rng, self.pick(self.size), length=SHORT, whole=1.0)  # type: ignore[arg-type]
        return self.packer.pack(self.rng, self.pick(self.size // 2))  # type: ignore[arg-type]

    def stage(self, number: int, minutes: float, floor: float, weight: float = 1.0) -> None:
        parts = (self.model.model.vision_tower, self.model.model.multi_modal_projector, self.head) if number == 1 else (self.model, self.head)
        optimizer = torch.optim.AdamW(grouped(*parts), lr=PEAK, betas=(0.9, 0.98), fused=True)
        clock, step = Clock(minutes * 60), 0
        if self.saved.get("stage") == number:
            optimizer.load_state_dict(self.saved["optimizer"])  # type: ignore[arg-type]
            clock, step = Clock(minutes * 60, float(self.saved["spent"])), int(self.saved["step"])  # type: ignore[arg-type]
        fetch = ahead(self.looks if number == 1 else self.talks)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        last_save = last_check = time.monotonic()
        sums: dict[str, float] = defaultdict(float)
        while (done := self.agree(clock.tick())) < 1:
            for group in optimizer.param_groups:
                group["lr"] = rate(step, done, floor, self.peak)
            self.easy = done < self.easy_share
            item = fetch()
            optimizer.zero_grad(set_to_none=True)
            if number == 1:
                tiles, targets = item  # type: ignore[misc]
                loss = self.head(see(self.model, tiles), targets)
                sums["detect"] += loss.item()
            else:
                assert isinstance(item, Batch)
                features = see(self.model, item.tiles)
                logits, wanted = answer_logits(self.model, item, features)
                answers, detect = answer_loss(logits, item, wanted, self.table), self.head(features, item.targets)
                loss = answers + detect * weight * max(0.0, 1 - done / 0.7)
                sums["answer"] += answers.item()
                sums["detect"] += detect.item()
            loss.backward()
            self.average(params)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            step += 1
            if step % 25 == 0:
                self.pool.refresh()
                self.log(stage=number, step=step, minutes=clock.spent / 60, scenes=len(self.pool.items), **{k: v / 25 for k, v in sums.items()})
                sums.clear()
            now = time.monotonic()
            if now - last_save > 150:
                self.save(number, step, clock, optimizer)
                last_save = now
            if number == 2 and not self.rank and now - last_check > 480:
                self.log(step=step, **self.check())
                last_check = time.monotonic()
        self.saved = {}
        self.save(number, step, clock, optimizer)

    @torch.no_grad()
    def check(self, scenes: int = 256) -> dict[str, object]:
        """Exact answers on validation scenes, by kind, judged with the right answer's beginning given."""
        self.model.eval()
        rng = np.random.default_rng(99)
        hits: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, min(scenes, len(self.val.items)), 64):
            batch = self.packer.pack(rng, self.val.items[start : start + 64], detect=False)  # type: ignore[arg-type]
            logits, wanted = answer_logits(self.model, batch, see(self.model, batch.tiles))
            guess, labels = logits.argmax(-1).numpy(), batch.labels[wanted.numpy()]
            owner, soft = batch.owner[wanted.numpy()], batch.soft[wanted.numpy()]
            values = np.vectorize(lambda t: self.packer.numbers.get(t, -500))
            near = np.abs(values(guess) - values(labels)) <= 20
            good = np.where(soft, near, guess == labels)
            for index, (_, turn) in enumerate(batch.turns):
                hits[turn.kind].append(bool(good[owner == index].all()))
                if turn.kind == "caption":
                    hits[f"caption_{turn.answer.count(' a ') + 1}"].append(hits[turn.kind][-1])
        self.model.train()
        return {k: round(float(np.mean(v)), 3) for k, v in sorted(hits.items())}


def work(rank: int, args: argparse.Namespace, meeting: str) -> None:
    """One worker of the training; the first one writes."""
    torch.set_num_threads(1 if args.workers > 1 else args.threads)
    if args.workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=args.workers)
    ask = {kind: float(share) for kind, share in (part.split("=") for part in args.ask.split(",") if part)}
    run = Run(args.pool, args.val, args.out, args.batch, rank=rank, workers=args.workers, start=args.start, peak=args.peak, ask=ask, easy=args.easy,
              layers=args.layers)
    if run.saved.get("stage") != 2 and args.first > 0:
        run.stage(1, args.first, floor=0.3)
    run.stage(2, args.minutes, floor=0.01, weight=0.3)
    if args.workers > 1:
        dist.destroy_process_group()
    if rank:
        return
    run.log(final=True, **run.check(1000))
    with torch.no_grad():
        for weight in run.model.parameters():
            weight.copy_(weight.half().float())
    run.log(rounded_to_f16=True, **run.check(1000))
    folder = args.out / "model"
    folder.mkdir(exist_ok=True)
    write_processor(folder, run.tokenizer)
    write_model(folder, run.model)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.shapes.train", description=__doc__)
    parser.add_argument("--minutes", type=float, default=100, help="time for stage 2")
    parser.add_argument("--first", type=float, default=5, help="time for stage 1")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, default=64, help="scenes a step, over all workers")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--threads", type=int, default=2, help="threads where there is one worker")
    parser.add_argument("--start", type=Path, help="a checkpoint or a model folder to go on from (with --first 0)")
    parser.add_argument("--peak", type=float, default=PEAK, help="the highest learning rate")
    parser.add_argument("--easy", type=float, default=EASY, help="the share of stage 2 that shows most pictures as one tile")
    parser.add_argument("--layers", type=int, default=LAYERS, help="layers of the text model")
    parser.add_argument("--ask", default="", help="how often to ask, where it differs from TRAINING: relation=0.4,ground=0.2")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        if args.workers == 1:
            work(0, args, meeting)
        else:
            torch.multiprocessing.spawn(work, (args, meeting), nprocs=args.workers)


if __name__ == "__main__":
    main()
