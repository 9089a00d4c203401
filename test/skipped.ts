/** Tests that this machine cannot run are told, and counted apart: they are neither passed nor failed. */

/** What a test may need of the machine. */
export type Need = 'compiler' | 'mount' | 'linux';

/**
 * Tells that something is not tested here, in the line that scripts/run-tests.mjs looks for. `VLM_TEST_HAS` names what
 * the machine must have; a test that is skipped for want of it then counts as failed.
 */
export function skipped(need: Need, why: string): void {
  process.stdout.write(`SKIPPED (${need}): ${why}\n`);
}
