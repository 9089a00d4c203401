/** Programs that were compiled elsewhere, such as by QEfficient: recognised by what lies in their folder. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { VlmError } from '../../../contracts/errors.js';
import type { Specialization } from './specializations.js';

export interface ReadyProgram {
  /** The folder that holds programqpc.bin. */
  readonly qpc: string;
  /** Shapes it was compiled for, when specializations.json lies beside it (QEfficient writes it there). */
  readonly specializations: readonly Specialization[] | null;
}

const PROGRAM = 'programqpc.bin';

/** A QPC folder, the folder around it (`qpc-<hash>/qpc`), or programqpc.bin itself. Throws PROGRAM_INVALID. */
export function readyProgram(path: string): ReadyProgram {
  const stat = statSync(path, { throwIfNoEntry: false });
  const candidates = stat?.isDirectory() === true ? [path, join(path, 'qpc')] : [dirname(path)];
  const qpc = candidates.find((folder) => existsSync(join(folder, PROGRAM)));
  if (stat === undefined || qpc === undefined || (stat.isFile() && !path.endsWith(PROGRAM))) {
    throw new VlmError('PROGRAM_INVALID', {
      what: stat === undefined ? 'A compiled program does not exist' : 'There is no compiled program here',
      expected: `a folder with ${PROGRAM}, or that file`,
      where: path,
      hint: 'correct `programs` of the device; a folder without that file was left by a compile that failed',
    });
  }
  return { qpc, specializations: readSpecializations(dirname(qpc)) };
}

/** Both forms: `{name, symbols}` and the flat one of older SDKs. */
export function readSpecializations(folder: string): readonly Specialization[] | null {
  try {
    const text: unknown = JSON.parse(readFileSync(join(folder, 'specializations.json'), 'utf8'));
    const list = (text as { specializations?: unknown }).specializations;
    if (!Array.isArray(list)) return null;
    return list.map((item: unknown, i) => {
      const set = item as { name?: unknown; symbols?: unknown };
      const symbols = typeof set.symbols === 'object' && set.symbols !== null ? set.symbols : (item as object);
      const numbers = Object.entries(symbols).map(([k, v]): [string, number] => [k, Number(v)]);
      const name = typeof set.name === 'string' ? set.name : `set ${i}`;
      return { name, symbols: Object.fromEntries(numbers.filter(([, v]) => Number.isFinite(v))) };
    });
  } catch {
    return null;
  }
}
