#!/usr/bin/env bash
# The README's main job prints a right answer about the shipped picture: the true caption of examples/scenes.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
answer=$(npx vlm-run pipelines/internvl.yaml)
node -e '
  const { readFileSync } = require("node:fs");
  const answer = process.argv[1].trim();
  const scenes = JSON.parse(readFileSync("examples/scenes.json", "utf8"));
  const truth = scenes["scene.png"]?.questions?.find((q) => q.question === "Describe the image.");
  if (!truth) throw new Error("examples/scenes.json has no true caption of scene.png");
  if (answer !== truth.answer) {
    console.error(`answered: ${answer}\nthe truth: ${truth.answer}`);
    process.exit(1);
  }
  console.log(answer);
' "$answer"
