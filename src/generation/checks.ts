/** What can be said of a prompt before any program call. */
import type { ProgramDescription } from '../contracts/device.js';
import { VlmError } from '../contracts/errors.js';
import { imageTokens, languagePorts, visionProblem } from './feeds.js';
import type { GenerationOptions, GenerationRequest } from './types.js';

/** The reason why a prompt cannot be generated from, or null. */
export function checkRequest(
  request: GenerationRequest,
  program: ProgramDescription,
  { ctxLen, maxPositions = Number.POSITIVE_INFINITY }: Pick<GenerationOptions, 'ctxLen' | 'maxPositions'>,
): VlmError | null {
  const { ids, imageTokenId, vision } = request;
  if (ids.length === 0) {
    return new VlmError('PROMPT_TOO_LONG', {
      what: 'A prompt has no tokens',
      expected: `1 to ${ctxLen} tokens`,
      received: '0 tokens',
      hint: 'check the chat template and the prompt input',
    });
  }
  if (ids.length > ctxLen) {
    return new VlmError('PROMPT_TOO_LONG', {
      what: 'A prompt does not fit the context',
      expected: `at most ${ctxLen} tokens (ctx_len)`,
      received: `${ids.length} tokens`,
      hint: `raise ctx_len to ${ids.length + 1} or more, or use fewer image tiles`,
    });
  }
  if (ids.length > maxPositions) {
    return new VlmError('PROMPT_TOO_LONG', {
      what: 'A prompt is longer than the model can take',
      expected: `at most ${maxPositions} tokens: the model knows no further positions`,
      received: `${ids.length} tokens`,
      hint: 'give fewer images, fewer image tiles or a shorter prompt',
    });
  }
  const wanted = imageTokens(ids, imageTokenId);
  const rows = vision?.dims[0] ?? 0;
  if (wanted !== rows) {
    return new VlmError('IMAGE_TOKENS_MISMATCH', {
      what: 'The image tokens of a prompt and the rows of its vision embeddings differ',
      expected: `${wanted} rows, one for each image token in the prompt`,
      received: vision === null ? 'no vision embeddings' : `${rows} rows`,
      hint: 'connect the vision input of the node, and use the images that the prompt was made for',
    });
  }
  const port = languagePorts(program).vision;
  if (vision !== null && port !== null) return visionProblem(vision, port.dims);
  if (wanted > 0) {
    return new VlmError('IMAGE_TOKENS_MISMATCH', {
      what: 'The language program takes no vision embeddings but the prompt has image tokens',
      expected: 'an input vision_embeds',
      received: `inputs ${program.inputs.map((p) => p.name).join(', ')}`,
      hint: 'use the language half of a vision-language export',
    });
  }
  return null;
}
