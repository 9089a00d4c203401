import { Ajv } from 'ajv';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SWEEP_SCHEMA } from '../../src/sweep/schema.js';
import { lacks, schemaProperties } from '../recipe/schema-properties.js';

test('every property has a description, an example, and a default or what counts without one', () => {
  const found = schemaProperties(SWEEP_SCHEMA);
  assert.equal(
    [...found].flatMap(([path, property]) => lacks(property).map((what) => `${path}: ${what}`)),
    [],
  );
  assert.ok(found.size > 30, `${found.size} properties`);
});

test('its examples and defaults are values that it accepts', () => {
  const ajv = new Ajv({ strict: false });
  for (const [path, property] of schemaProperties(SWEEP_SCHEMA)) {
    const { examples, default: value } = property;
    for (const sample of [...(Array.isArray(examples) ? examples : []), ...(value === undefined ? [] : [value])]) {
      assert.ok(ajv.validate(property, sample), `${path}: ${JSON.stringify(sample)}: ${ajv.errorsText()}`);
    }
  }
});

test.run();
