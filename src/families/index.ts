/** Every model family. Adding one: a folder with family.ts, and a line here. */
import { VlmError } from '../contracts/errors.js';
import type { Family, ModelFiles } from '../contracts/family.js';
import { family as internvl } from './internvl/family.js';
import { family as llama4 } from './llama4/family.js';
import { family as llavaNext } from './llava-next/family.js';

export const FAMILIES: readonly Family[] = [internvl, llavaNext, llama4];

/** The family of a model folder, by `model_type` of config.json. Throws MODEL_UNSUPPORTED. */
export function familyFor(files: ModelFiles): Family {
  const type = files.config['model_type'];
  const found = FAMILIES.find((family) => typeof type === 'string' && family.modelTypes.includes(type));
  if (found === undefined) {
    throw new VlmError('MODEL_UNSUPPORTED', {
      what: 'No family of vlm-run runs this model',
      expected: `model_type ${FAMILIES.flatMap((family) => family.modelTypes).join(', ')}`,
      received: type === undefined ? 'a config.json without model_type' : `model_type ${JSON.stringify(type)}`,
      where: `${files.name}/config.json`,
      hint: 'use a model of a supported family; docs/ tells how a family is added',
    });
  }
  return found;
}
