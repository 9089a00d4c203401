import { suite } from 'uvu';
import { VlmError } from '../../src/contracts/errors.js';

type Suite = ReturnType<typeof suite>;

/** A suite that shows what a VlmError says: uvu takes its `details` for text, and drops the rest of the suite. */
export function suiteOf(
  name: string,
): ((title: string, body: () => void | Promise<void>) => void) & Pick<Suite, 'before' | 'after' | 'run'> {
  const inner = suite(name);
  const add = (title: string, body: () => void | Promise<void>): void =>
    inner(title, async () => {
      try {
        await body();
      } catch (error) {
        if (!(error instanceof VlmError)) throw error;
        throw new Error(`${error.code}: ${error.message}`, { cause: error });
      }
    });
  return Object.assign(add, { before: inner.before, after: inner.after, run: inner.run });
}
