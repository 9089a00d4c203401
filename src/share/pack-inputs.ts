/** Inputs of a pack: pictures and conversations of examples and defaults, named by their content. */
import { basename } from 'node:path';
import { VlmError } from '../contracts/errors.js';
import type { ImageValue, MessagesValue, PortValue } from '../contracts/ports.js';
import type { Plan } from '../contracts/recipe.js';
import { loadInputs } from '../runner/inputs/load.js';
import { digestOf, sha256Of } from './canonical.js';
import { inputsFinding } from './compare.js';
import { packedMessages, packedName, reopenExample } from './examples.js';
import type { Lock } from './format.js';
import type { PackSource } from './packer.js';

export type Files = Map<string, PackSource>;

/** Throws LOCK_INVALID when an example is no longer what it was. */
export async function addExamples(plan: Plan, lock: Lock, files: Files): Promise<void> {
  for (const [i, example] of lock.examples.entries()) {
    const { loaded, inputs } = await reopenExample(plan, example);
    const finding = inputsFinding(example.inputs, inputs);
    if (finding.status === 'break') {
      throw new VlmError('LOCK_INVALID', {
        what: `An example of the lock is not what it was`,
        received: finding.message,
        where: `example ${i + 1}`,
        hint: 'restore its file, or lock the recipe again',
      });
    }
    for (const value of Object.values(loaded.values)) addValue(value, files);
  }
}

/** Puts pictures and conversations into the pack; returns their names there. */
function addValue(value: PortValue | readonly PortValue[], files: Files): readonly string[] {
  const list = (Array.isArray(value) ? value : [value]) as readonly PortValue[];
  return list.flatMap((one) => {
    if (one.kind === 'image') return [addImage(one, files)];
    return one.kind === 'messages' ? [addMessages(one, files)] : [];
  });
}

function addImage({ bytes, name }: ImageValue, files: Files): string {
  const packed = packedName(sha256Of(bytes), name);
  files.set(packed, { bytes });
  return packed;
}

/** A conversation as a file whose pictures lie beside it. */
function addMessages(value: MessagesValue, files: Files): string {
  const images = value.images.map((image) => basename(addImage(image, files)));
  const messages = value.messages.map((message) => ({
    role: message.role,
    content:
      typeof message.content === 'string'
        ? message.content
        : message.content.map((part) =>
            part.type === 'image' && part.image !== undefined
              ? { ...part, image: images[part.image] ?? part.image }
              : part,
          ),
  }));
  const packed = packedMessages(digestOf(value.messages));
  files.set(packed, { bytes: new TextEncoder().encode(`${JSON.stringify(messages, null, 2)}\n`) });
  return packed;
}

/** Defaults that are files: their names in the pack, by input. */
export async function addDefaults(plan: Plan, files: Files): Promise<ReadonlyMap<string, string | readonly string[]>> {
  const names = new Map<string, string | readonly string[]>();
  for (const input of Object.values(plan.inputs)) {
    if (input.type === 'text' || (input.default ?? null) === null) continue;
    const { values } = await loadInputs({ ...plan, inputs: { [input.name]: input } }, {});
    const value = values[input.name];
    if (value === undefined) continue;
    const packed = addValue(value, files);
    names.set(input.name, input.many ? packed : (packed[0] ?? ''));
  }
  return names;
}
