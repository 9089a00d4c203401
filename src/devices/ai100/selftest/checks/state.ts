/** What stays on the card between calls, seen through a program that shows it. */
import { floatsToHalves } from '../../../../util/float16.js';
import type { Call } from '../call.js';
import type { Kit } from '../kit.js';
import { CTX_LEN, HEAD_DIM, LOGITS, ROWS, SEQ_LEN, WIDTH } from '../models.js';
import { SUCCESS, statusText } from '../runtime.js';
import { type Check, Deviation, FACTS } from '../types.js';
import { bytesOf } from './run.js';

const ROW_VALUES = Float32Array.from({ length: ROWS * WIDTH }, (_, i) => (i + 1) / 2);
const ROW_SUM = ROW_VALUES.reduce((a, b) => a + b, 0);
const RETAINED = ['past_key.0', 'past_key.0_RetainedState', 'vision_embeds_RetainedState'];

type Token = readonly [id: number, position: number];

class Prompt {
  constructor(readonly call: Call) {}

  /** One call; `rows`: whether the vision rows are passed or skipped. Answers the first status that is not success. */
  step(tokens: readonly Token[], rows: boolean): { readonly call: string; readonly status: number } {
    const { call } = this;
    const seq = tokens.length;
    bytesOf(BigInt64Array.from(tokens, ([id]) => BigInt(id))).copy(call.memory('input_ids'));
    bytesOf(BigInt64Array.from(tokens, ([, at]) => BigInt(at))).copy(call.memory('position_ids'));
    call.memory('image_idx').writeBigInt64LE(0n);
    call.memory('logits').fill(0xee);
    if (rows) writeRows(call);
    return call.run({
      shapes: {
        input_ids: [1, seq],
        position_ids: [1, seq],
        vision_embeds: [1, ROWS, WIDTH],
        image_idx: [1, 1],
        'past_key.0': [1, 1, CTX_LEN, HEAD_DIM],
        logits: [1, 1, LOGITS],
        image_idx_output: [1, 1],
      },
      skipped: new Set(rows ? RETAINED : [...RETAINED, 'vision_embeds']),
    });
  }

  took(tokens: readonly Token[], rows: boolean): readonly number[] {
    const { call, status } = this.step(tokens, rows);
    if (status !== SUCCESS) throw new Deviation('the execution succeeds', statusText(call, status), status);
    return this.logits();
  }

  logits(): readonly number[] {
    const memory = this.call.memory('logits');
    return Array.from({ length: LOGITS }, (_, i) => memory.readFloatLE(i * 4));
  }
}

/** float16 or float32, as the program was compiled; the values are exact in both. */
function writeRows(call: Call): void {
  const memory = call.memory('vision_embeds');
  bytesOf(memory.length === ROW_VALUES.byteLength ? ROW_VALUES : floatsToHalves(ROW_VALUES)).copy(memory);
}

function begin(kit: Kit): Prompt {
  return new Prompt(kit.exec(kit.open(kit.facts('language'))));
}

const PREFILL: readonly Token[] = [
  [3, 0],
  [5, 1],
  [2, 2],
  [4, 3],
];
const DECODE: readonly Token[] = [[7, 4]];

function agree(what: string, wanted: number, received: number | undefined): void {
  if (received !== wanted) throw new Deviation(`${what}: ${wanted}`, `${received}`, SUCCESS);
}

export const STATE_CHECKS: readonly Check[] = [
  {
    name: 'run/language',
    assumption: 'a program with retained state runs with its caches skipped from the first call on',
    source: FACTS.programs,
    // Smaller calls than the largest are the rule here.
    needs: ['run/size-of-the-shape', 'run/skipped-buffer'],
    program: 'language',
    run: (kit) => {
      const [cache, , ids] = begin(kit).took(PREFILL, true);
      agree('sum of the ids of the call', 14, ids);
      agree('sum over the cache', 14 * HEAD_DIM, cache);
      return { received: 'the sums that pencil and paper give', status: SUCCESS };
    },
  },
  {
    name: 'run/padded-position',
    assumption: 'a position of -1 leaves the cache as it is',
    source: FACTS.contract,
    needs: ['run/language'],
    program: 'language',
    run: (kit) => {
      const padded: Token[] = [...PREFILL.slice(0, 2)];
      while (padded.length < SEQ_LEN) padded.push([0, -1]);
      const [cache] = begin(kit).took(padded, true);
      agree('sum over the cache', 8 * HEAD_DIM, cache);
      return { received: 'two tokens in the cache of a call of four', status: SUCCESS };
    },
  },
  {
    name: 'run/retained-state',
    assumption: 'a cache whose buffers are skipped keeps what earlier calls wrote',
    source: FACTS.field,
    needs: ['run/language'],
    program: 'language',
    run: (kit) => {
      const prompt = begin(kit);
      prompt.took(PREFILL, true);
      const [cache, , ids] = prompt.took(DECODE, false);
      agree('sum of the ids of the call', 7, ids);
      agree('sum over the cache after prefill and one step', 21 * HEAD_DIM, cache);
      return { received: 'the cache of prefill and step', status: SUCCESS };
    },
  },
  {
    name: 'run/retained-rows',
    assumption: 'vision rows that are passed once stay while their buffer is skipped',
    source: FACTS.contract,
    needs: ['run/language'],
    program: 'language',
    run: (kit) => {
      const prompt = begin(kit);
      agree('sum over the vision rows when passed', ROW_SUM, prompt.took(PREFILL, true)[1]);
      agree('sum over the vision rows when skipped', ROW_SUM, prompt.took(DECODE, false)[1]);
      return { received: 'the rows of the first call', status: SUCCESS };
    },
  },
];

/** Before the others: without it they say nothing. */
export const SKIPPED_CHECKS: readonly Check[] = [
  {
    name: 'run/skipped-buffer',
    assumption: 'size 0 with dims [0] (count 1) is taken where retained state or is_partial_buf_allowed',
    source: FACTS.field,
    needs: ['run/size-of-the-shape'],
    program: 'language',
    run: (kit) => {
      const prompt = begin(kit);
      for (const [tokens, rows] of [
        [PREFILL, true],
        [DECODE, false],
      ] as const) {
        const { call, status } = prompt.step(tokens, rows);
        if (status !== SUCCESS) throw new Deviation(statusText(call, SUCCESS), statusText(call, status), status);
      }
      return { received: 'prefill and step with skipped buffers succeeded', status: SUCCESS };
    },
  },
];
