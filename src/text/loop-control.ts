/**
 * The template library drops what an iteration has written when it then meets `break` or `continue`; Jinja keeps it. A
 * template that does so would give a wrong prompt without a word, so it is found here, in the parsed template.
 */

interface AstNode {
  readonly type: string;
  readonly [key: string]: unknown;
}

const SILENT = new Set(['Set', 'Macro', 'Comment', 'Break', 'Continue']);

function nodes(value: unknown): readonly AstNode[] {
  return Array.isArray(value)
    ? value.filter((v): v is AstNode => typeof v === 'object' && v !== null && 'type' in v)
    : [];
}

interface Walk {
  /** Whether something may have been written in this iteration. */
  readonly wrote: boolean;
  readonly lost: boolean;
}

/** Follows statements in order. */
function walk(statements: readonly AstNode[], wroteBefore: boolean): Walk {
  let wrote = wroteBefore;
  let lost = false;
  for (const node of statements) {
    if (node.type === 'Break' || node.type === 'Continue') {
      lost ||= wrote;
    } else if (node.type === 'If') {
      const branches = [walk(nodes(node['body']), wrote), walk(nodes(node['alternate']), wrote)];
      lost ||= branches.some((branch) => branch.lost);
      wrote ||= branches.some((branch) => branch.wrote);
    } else if (node.type === 'For') {
      const inner = walk(nodes(node['body']), false);
      lost ||= inner.lost;
      wrote ||= inner.wrote || walk(nodes(node['defaultBlock']), false).wrote;
    } else if (node.type === 'Macro') {
      lost ||= walk(nodes(node['body']), false).lost;
    } else if (!SILENT.has(node.type)) {
      wrote ||= node.type !== 'StringLiteral' || node['value'] !== '';
    }
  }
  return { wrote, lost };
}

/** True when an iteration may write text before a `break` or `continue` of its loop. */
export function losesText(program: { readonly body: unknown }): boolean {
  return walk(nodes(program.body), false).lost;
}
