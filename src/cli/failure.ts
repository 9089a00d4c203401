/** Errors as people and programs read them. Never a stack trace, unless VLM_RUN_DEBUG=1 asks for it. */
import { ERROR_CODES, type ErrorData, VlmError } from '../contracts/errors.js';
import type { Diagnostic } from '../contracts/recipe.js';
import { harmless, type Io, type Paint } from './io.js';

export function asVlmError(error: unknown): VlmError {
  return VlmError.wrap(error, 'INTERNAL', {
    what: 'vlm-run itself failed',
    hint: 'this is a defect: please report it with the output of the same command under VLM_RUN_DEBUG=1',
  });
}

export function exitCodeOf(data: ErrorData): number {
  return ERROR_CODES[data.code];
}

/** A block like those of recipe diagnostics. */
export function formatError(data: ErrorData, paint: Paint): string {
  const lines = [`${paint.red(`error[${data.code}]`)}${paint.bold(`: ${harmless(data.what)}`)}`];
  const row = (label: string, value: string | undefined): void => {
    if (value !== undefined) lines.push(`  ${paint.faint(`${label}:`)} ${harmless(value).replaceAll('\n', '\n    ')}`);
  };
  if (data.location !== undefined) {
    const { file, line, column } = data.location;
    row('at', `${file}:${line}:${column}`);
  }
  row('where', data.where);
  row('expected', data.expected);
  row('received', data.received);
  // An error of the system is often all there is to say.
  if (data.cause !== data.received) row('cause', data.cause);
  row('help', data.hint);
  return `${lines.join('\n')}\n`;
}

/** The one document about a file with problems: what its error says as text stands there as data. */
export function problemsDocument(error: VlmError, diagnostics: readonly Diagnostic[]): string {
  const { received: _, ...data } = error.toData();
  return `${JSON.stringify({ ok: false, error: data, diagnostics }, null, 2)}\n`;
}

/** Prints an error and returns the exit code. With `json` the error is the one document on standard output. */
export function reportError(error: unknown, io: Io, json: boolean): number {
  const known = asVlmError(error);
  const data = known.toData();
  if (json) io.out(`${JSON.stringify({ ok: false, error: data }, null, 2)}\n`);
  else io.err(formatError(data, io.paint));
  if (process.env['VLM_RUN_DEBUG'] === '1') io.err(`${debugText(known)}\n`);
  return exitCodeOf(data);
}

function debugText(error: VlmError): string {
  const { cause } = error.details;
  const inner = cause instanceof Error ? `\ncaused by ${cause.stack ?? cause.message}` : '';
  return `${error.stack ?? error.message}${inner}`;
}
