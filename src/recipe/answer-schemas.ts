/** Options that hold a JSON Schema of the user's own: what is wrong with one is found before anything runs. */
import { compileSchema, SCHEMA_DRAFTS } from '../util/answer-schema.js';
import type { Draft } from './draft.js';
import type { Problems } from './problems.js';
import { type DocumentPath, findNode, pathText, type SourceNode, spanAt, toValue } from './source.js';

export async function checkAnswerSchemas({ nodes }: Draft, problems: Problems): Promise<void> {
  for (const node of nodes.values()) {
    for (const [name, option] of Object.entries(node.manifest?.options ?? {})) {
      const entry = option.holdsSchema === true ? node.with?.entries.get(name) : undefined;
      const value = entry === undefined ? undefined : toValue(entry.value);
      if (entry === undefined || !isSchema(value)) continue;
      const compiled = await compileSchema(value);
      if (compiled.ok) continue;
      const steps = placeOf(entry.value, compiled.path);
      const path = ['nodes', node.name, 'with', name, ...steps];
      problems.add('E_VALUE', `${pathText(path)} is no JSON Schema: ${compiled.message}`, {
        at: steps.length === 0 ? entry.key : spanAt(entry.value, steps),
        path,
        hint: `correct the schema: ${SCHEMA_DRAFTS}`,
      });
    }
  }
}

const isSchema = (value: unknown): value is object | boolean =>
  typeof value === 'boolean' || (typeof value === 'object' && value !== null && !Array.isArray(value));

/** Pointers write places in lists as text; paths have numbers there. */
function placeOf(root: SourceNode, pointer: readonly string[]): DocumentPath {
  return pointer.map((step, i) => (findNode(root, pointer.slice(0, i))?.value.kind === 'list' ? Number(step) : step));
}
