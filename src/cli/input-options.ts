/** `--input name=value`: what the value means depends on the type of the input. */
import { VlmError } from '../contracts/errors.js';
import type { Plan } from '../contracts/recipe.js';
import { nearHint } from '../recipe/index.js';
import type { FetchLimits } from '../runner/inputs/fetch.js';
import { type InputGiven, type LoadedInputs, loadInputs } from '../runner/inputs/load.js';

export interface InputFlags {
  readonly input?: readonly string[];
}

/** Reads the inputs of one run. Throws USAGE, INPUT_UNKNOWN and what reading throws. */
export async function readInputs(
  plan: Plan,
  flags: InputFlags,
  options: { readonly signal?: AbortSignal; readonly limits?: Partial<FetchLimits> } = {},
): Promise<LoadedInputs> {
  return loadInputs(plan, parseInputs(plan, flags.input ?? []), {
    ...options,
    stdin: process.stdin,
    suggest: nearHint,
  });
}

export function parseInputs(plan: Plan, texts: readonly string[]): Readonly<Record<string, InputGiven>> {
  const given = new Map<string, InputGiven[]>();
  let stdin = 0;
  for (const text of texts) {
    const at = text.indexOf('=');
    if (at <= 0) {
      throw new VlmError('USAGE', {
        what: 'An --input is not written as name=value',
        expected: 'for example --input image=cat.jpg or --input prompt="What is this?"',
        received: text,
      });
    }
    const name = text.slice(0, at);
    const value = text.slice(at + 1);
    if (value === '-' || value === '@-') stdin++;
    given.set(name, [...(given.get(name) ?? []), givenValue(name, plan.inputs[name]?.type, value)]);
  }
  if (stdin > 1) {
    throw new VlmError('USAGE', { what: 'Standard input is named twice', expected: '`-` for one input at most' });
  }
  return Object.fromEntries(
    [...given].map(([name, values]): [string, InputGiven] => {
      const [first] = values;
      if (values.length === 1 && first !== undefined) return [name, first];
      if (plan.inputs[name]?.type === 'messages') {
        throw new VlmError('USAGE', { what: `The input "${name}" is given ${values.length} times`, expected: 'once' });
      }
      return [name, values];
    }),
  );
}

/**
 * Text: as it is, `@file`, `-`; `@@…` is text that begins with an @. Pictures: a place. Conversations: a place, or JSON
 * (`@[…]` is a file of such a name).
 */
function givenValue(name: string, type: string | undefined, value: string): InputGiven {
  if (type === 'messages' && /^\s*(?:\[.*\]|\{.*\})\s*$/s.test(value)) return conversation(name, value);
  if (type !== 'text') return value.startsWith('@') ? value.slice(1) : value;
  if (value === '-') return { file: '-' };
  if (value.startsWith('@@')) return value.slice(1);
  return value.startsWith('@') ? { file: value.slice(1) } : value;
}

function conversation(name: string, text: string): InputGiven {
  try {
    return JSON.parse(text) as InputGiven;
  } catch (cause) {
    throw new VlmError('USAGE', {
      what: 'A conversation on the command line is not JSON',
      expected: `--input ${name}='[{"role": "user", "content": "…"}]'`,
      received: text.length > 80 ? `${text.slice(0, 80)}…` : text,
      where: `input "${name}"`,
      hint: 'keep it in a file (JSON or YAML) and give its path',
      cause,
    });
  }
}
