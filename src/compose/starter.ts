/** Lengths for the starter recipe of a model: those of the demonstration model are too short for any real one. */
import type { ModelContext } from '../contracts/node.js';
import { preparePromptSize } from '../prompt/prepare.js';

export interface StarterLengths {
  readonly prefillSeqLen: number;
  readonly ctxLen: number;
  readonly maxNewTokens: number;
}

const MAX_NEW_TOKENS = 512;
/** More than the question of the starter recipe has. */
const LONGER_QUESTION = 128;
/** Of longer prompts the processor takes several calls: one call of a whole prompt needs much memory at once. */
const MOST_AT_ONCE = 1024;

/** What the picture that takes most tokens needs, in steps of 256. Throws what a plan with this model would throw. */
export async function starterLengths(path: string): Promise<StarterLengths> {
  const [{ openModelFolder }, { openModelContext }, { describeFile }] = await Promise.all([
    import('../model/folder.js'),
    import('../model/context.js'),
    import('../devices/describe.js'),
  ]);
  const model = await openModelContext(await openModelFolder({ path }), { describe: describeFile, calls: 'exact' });
  const most = mostTokens(model);
  const whole = Math.ceil((most + LONGER_QUESTION + MAX_NEW_TOKENS) / 256) * 256;
  return {
    prefillSeqLen: Math.min(MOST_AT_ONCE, Math.ceil(most / 128) * 128),
    ctxLen: Math.min(Math.max(whole, 1024), model.family.maxPositions),
    maxNewTokens: MAX_NEW_TOKENS,
  };
}

/** Large pictures of every proportion up to 12:1 stand for all: tiling depends on little else. */
function mostTokens(model: ModelContext): number {
  let most = 0;
  for (let columns = 1; columns <= 12; columns++) {
    for (let rows = 1; rows <= 12; rows++) {
      const size = { width: 448 * columns, height: 448 * rows };
      const { prompt } = preparePromptSize(model, { prompt: 'Describe the image.', sizes: [size] });
      most = Math.max(most, prompt.ids.length);
    }
  }
  return most;
}
