/** Chat templates of model folders, rendered with the same variables as the reference gives them. */
import { createRequire } from 'node:module';
import { VlmError } from '../contracts/errors.js';
import type { ChatMessage } from '../contracts/node.js';
import { asList, asRecord, tokenText } from './json.js';
import { losesText } from './loop-control.js';

/** Loaded by the first template: most threads that open a model render none. */
function jinja(): typeof import('@huggingface/jinja') {
  return createRequire(import.meta.url)('@huggingface/jinja');
}

const NAMED_TOKENS = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/** Special tokens by name (`eos_token`, `image_token` …), as templates may use them. */
export function namedTokens(config: Readonly<Record<string, unknown>> | null): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(asRecord(config?.['extra_special_tokens']) ?? {})) {
    const text = tokenText(value);
    if (text !== undefined) found[name] = text;
  }
  for (const name of NAMED_TOKENS) {
    const text = tokenText(config?.[name]);
    if (text !== undefined) found[name] = text;
  }
  return found;
}

/**
 * Picks the template text: a string, or the one named `default` of a list of `{ name, template }`.
 * undefined when there is none.
 */
export function pickTemplate(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  const named = (asList(value) ?? []).map(asRecord);
  const chosen = named.find((t) => t?.['name'] === 'default') ?? (named.length === 1 ? named[0] : undefined);
  const text = chosen?.['template'] ?? asRecord(value)?.['default'];
  return typeof text === 'string' ? text : undefined;
}

export type Renderer = (messages: readonly ChatMessage[], options: { readonly addGenerationPrompt: boolean }) => string;

/** Parses a template once. Throws TEMPLATE_INVALID, naming `where`. */
export function compileTemplate(source: string, tokens: Readonly<Record<string, string>>, where: string): Renderer {
  const { Template } = jinja();
  const parsed = attempt('The chat template cannot be read', where, () => new Template(source));
  if (losesText(parsed.parsed)) {
    throw new VlmError('TEMPLATE_INVALID', {
      what: 'The chat template ends an iteration that has written text already',
      expected: '`break` and `continue` before the first text of their loop',
      where,
      hint: 'write the condition around the text instead: {% if … %}…{% endif %}',
    });
  }
  return (messages, { addGenerationPrompt }) =>
    attempt('The chat template refused the conversation', where, () =>
      parsed.render({
        ...tokens,
        messages,
        tools: null,
        documents: null,
        add_generation_prompt: addGenerationPrompt,
      }),
    );
}

function attempt<T>(what: string, where: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new VlmError('TEMPLATE_INVALID', {
      what,
      where,
      received: error instanceof Error ? error.message : String(error),
      hint: what.endsWith('read')
        ? 'fetch the file again from the model’s repository, or repair it'
        : 'check the roles and their order, and that the content is what this model’s template takes',
      cause: error,
    });
  }
}
