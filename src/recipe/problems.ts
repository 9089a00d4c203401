/** Collects the problems of a recipe: all of them, each once, in the order of the text. */
import type { SourceLocation } from '../contracts/errors.js';
import type { Diagnostic, DiagnosticCode, SourceText } from '../contracts/recipe.js';
import { type DocumentPath, lineText, locationOf, pathText, type Span, sourceFile } from './source.js';

export interface ProblemDetails {
  readonly at?: Span | undefined;
  readonly path?: DocumentPath | string | undefined;
  readonly hint?: string | undefined;
  /** Told only where nothing else is wrong at this place: another problem there says it better. */
  readonly isLast?: boolean;
}

/** Longer messages (a key of a hundred kilobytes) and longer lines help nobody. */
const MAX_MESSAGE = 400;
const MAX_EXCERPT = 4096;

const placeOf = (location: SourceLocation | undefined): string =>
  `${location?.file}|${location?.line}|${location?.column}`;

const short = (text: string): string => (text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE - 1)}…` : text);

export class Problems {
  readonly #list: Diagnostic[] = [];
  readonly #seen = new Set<string>();
  /** Told only where nothing else is. */
  readonly #last = new Set<Diagnostic>();
  #errors = 0;

  add(code: DiagnosticCode, message: string, { at, path = '', hint, isLast = false }: ProblemDetails = {}): void {
    const location = at === undefined ? undefined : locationOf(at);
    // An alias shows the same mistake at two paths; it is still one mistake at one place.
    const last = typeof path === 'string' ? path.split('.').at(-1) : path.at(-1);
    const key = `${code}|${placeOf(location)}|${last}`;
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    const severity = code.startsWith('W_') ? 'warning' : 'error';
    const excerpt = at === undefined || location === undefined ? undefined : lineText(at.file, location.line);
    if (severity === 'error') this.#errors++;
    const diagnostic: Diagnostic = {
      severity,
      code,
      message: short(message),
      ...(hint === undefined ? {} : { hint: short(hint) }),
      path: typeof path === 'string' ? path : pathText(path),
      ...(location === undefined ? {} : { location }),
      ...(excerpt === undefined || excerpt.length > MAX_EXCERPT ? {} : { excerpt }),
    };
    this.#list.push(diagnostic);
    if (isLast) this.#last.add(diagnostic);
  }

  /** True when one of these codes was reported. */
  has(codes: readonly DiagnosticCode[]): boolean {
    return this.#list.some((d) => codes.includes(d.code));
  }

  get hasErrors(): boolean {
    return this.#errors > 0;
  }

  /** Sorted by file (in order of first appearance), line and column. */
  all(): readonly Diagnostic[] {
    const files = new Map<string, number>();
    for (const d of this.#list) {
      const file = d.location?.file ?? '';
      if (!files.has(file)) files.set(file, files.size);
    }
    const rank = (d: Diagnostic): readonly [number, number, number] => [
      files.get(d.location?.file ?? '') ?? 0,
      d.location?.line ?? 0,
      d.location?.column ?? 0,
    ];
    const others = new Set(
      this.#list.filter((d) => d.severity === 'error' && !this.#last.has(d)).map((d) => placeOf(d.location)),
    );
    const told = this.#list.filter((d) => !this.#last.has(d) || !others.has(placeOf(d.location)));
    return told.sort((a, b) => {
      const [fa, la, ca] = rank(a);
      const [fb, lb, cb] = rank(b);
      return fa - fb || la - lb || ca - cb;
    });
  }
}

/**
 * A diagnostic for a place that a plan remembers (`PlanNode.optionLocations`), for phases after compiling: planning
 * and checks against a model. `sources` are those of the Compilation; without them there is no excerpt.
 */
export function diagnosticAt(
  code: DiagnosticCode,
  message: string,
  where: {
    readonly path: string;
    readonly location?: SourceLocation | undefined;
    readonly hint?: string | undefined;
    readonly sources?: readonly SourceText[] | undefined;
  },
): Diagnostic {
  const { location, hint, path } = where;
  const source = where.sources?.find((s) => s.path === location?.file);
  const excerpt = source && location ? lineText(sourceFile(source.path, '', source.text), location.line) : undefined;
  const word = location && excerpt !== undefined ? wordLength(excerpt.slice(location.column - 1)) : 1;
  return {
    severity: code.startsWith('W_') ? 'warning' : 'error',
    code,
    message,
    ...(hint === undefined ? {} : { hint }),
    path,
    ...(location === undefined ? {} : { location: { ...location, endColumn: location.column + word } }),
    ...(excerpt === undefined ? {} : { excerpt }),
  };
}

function wordLength(text: string): number {
  return Math.max(1, /^(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s,:}\]#]+)/.exec(text)?.[0].length ?? 1);
}
