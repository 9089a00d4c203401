/** Values of a plan that the model's own configuration contradicts: warnings, made before anything runs. */
import type { Diagnostic, Plan, PlanNode, SourceText } from '../contracts/recipe.js';
import { diagnosticAt } from './problems.js';

/** What a model folder says about itself, as far as recipes can contradict it. Absent: unknown. */
export interface ModelFacts {
  /** Positions the text model was trained for (`max_position_embeddings`). */
  readonly maxPositions?: number;
  readonly vocabSize?: number;
  /** Limits of tiling in the model's own processor configuration. */
  readonly minTiles?: number;
  readonly maxTiles?: number;
  readonly useThumbnail?: boolean;
}

interface Rule {
  readonly option: string;
  /** The message when the value contradicts the facts. */
  readonly check: (value: unknown, facts: ModelFacts, node: PlanNode) => { message: string; hint: string } | null;
}

const above = (value: unknown, limit: number | undefined): value is number =>
  typeof value === 'number' && limit !== undefined && value > limit;

const RULES: readonly Rule[] = [
  {
    option: 'ctx_len',
    check: (value, { maxPositions }) =>
      above(value, maxPositions)
        ? {
            message: `ctx_len is ${value}, the model knows ${maxPositions} positions`,
            hint: `an answer ends there: use at most ${maxPositions}, the rest of the cache stays empty`,
          }
        : null,
  },
  {
    option: 'max_tiles',
    check: (value, { maxTiles }) =>
      above(value, maxTiles)
        ? {
            message: `max_tiles is ${value}, the model was made for at most ${maxTiles}`,
            hint: `use ${maxTiles} or fewer, or leave it out: the model’s own value counts then`,
          }
        : null,
  },
  {
    option: 'min_tiles',
    check: (value, { maxTiles }) =>
      above(value, maxTiles)
        ? {
            message: `min_tiles is ${value}, the model was made for at most ${maxTiles}`,
            hint: `use ${maxTiles} or fewer`,
          }
        : null,
  },
  {
    option: 'use_thumbnail',
    check: (value, { useThumbnail }) =>
      typeof value === 'boolean' && useThumbnail !== undefined && value !== useThumbnail
        ? {
            message: `use_thumbnail is ${value}, the model’s own configuration says ${useThumbnail}`,
            hint: 'leave it out: the model’s own value counts then',
          }
        : null,
  },
  {
    option: 'stop_token_ids',
    check: (value, { vocabSize }) => {
      const ids: readonly unknown[] = Array.isArray(value) ? value : [];
      const outside = ids.filter((id) => typeof id === 'number' && vocabSize !== undefined && id >= vocabSize);
      return outside.length === 0
        ? null
        : {
            message: `stop_token_ids has ${outside.join(', ')}, the model’s vocabulary ends at ${(vocabSize ?? 0) - 1}`,
            hint: 'such a token is never generated',
          };
    },
  },
];

/** W_CONTRADICTS_MODEL for each option the recipe gave against the facts. `sources` are those of the Compilation. */
export function checkAgainstModel(
  plan: Plan,
  facts: ModelFacts,
  sources?: readonly SourceText[],
): readonly Diagnostic[] {
  const found: Diagnostic[] = [];
  for (const node of plan.nodes) {
    for (const { option, check } of RULES) {
      if (!node.given.includes(option) || !Object.hasOwn(node.manifest.options, option)) continue;
      const trouble = check(node.options[option], facts, node);
      if (trouble === null) continue;
      found.push(
        diagnosticAt('W_CONTRADICTS_MODEL', trouble.message, {
          path: `nodes.${node.name}.with.${option}`,
          location: node.optionLocations[option],
          hint: trouble.hint,
          sources,
        }),
      );
    }
  }
  return found;
}
