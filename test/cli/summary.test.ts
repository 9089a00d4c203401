import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { makePaint } from '../../src/cli/io.js';
import { summary } from '../../src/cli/summary.js';
import type { AnswerValue } from '../../src/contracts/ports.js';
import type { RunResultRecord } from '../../src/contracts/record.js';

const told = (...answers: readonly (AnswerValue['json'] | null)[]): string => {
  const result: RunResultRecord = {
    ok: true,
    items: answers.map((json, index) => ({
      index,
      ok: true,
      images: [],
      outputs: { answer: { kind: 'answer', text: 'a', boxes: [], ...(json == null ? {} : { json }) } },
    })),
    ledger: { wallMs: 1, lanes: [{ lane: 'main', wallMs: 1, stages: { idle: 1 }, spans: [] }] },
  };
  return summary(result, makePaint(false));
};

test('an answer that is not what its schema wants is told, as nothing of it shows in the text', () => {
  const wrong = { valid: false, errors: ['/a: must be integer', 'the end'] };
  assert.match(told(wrong), 'answer does not match its schema: /a: must be integer; the end\n');
  assert.match(told(wrong, wrong), 'item 1: answer does not match');
  assert.not.match(told(null, { valid: true, value: 1 }), 'schema');
});

test.run();
