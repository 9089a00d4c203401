/**
 * Which values of a plan belong together. A recipe may have several prompts and several answers; what a record says of
 * one of them must all be of that one: the text, the completion it descends from, the prompt that was completed, the
 * pictures of that prompt.
 */
import type { PortKind } from '../contracts/ports.js';
import type { Plan, PlanNode, Reference } from '../contracts/recipe.js';

/** Keys of values, as `refKey` gives them. */
export interface Chain {
  readonly completion?: string;
  readonly tokens?: string;
  readonly pixels?: string;
  readonly embeddings?: string;
}

export interface Chains {
  /** The output that is the answer: the first one that shows text. */
  readonly answer?: string;
  /** What that output descends from. */
  readonly main: Chain;
  /** Every completion of the plan, in its order. */
  readonly all: readonly (Chain & { readonly completion: string })[];
}

const TEXTS: ReadonlySet<PortKind> = new Set<PortKind>(['text', 'completion', 'answer']);

export function refKey(ref: Reference): string {
  return ref.from === 'input' ? `$${ref.name}` : `${ref.node}.${ref.port}`;
}

/** Names of the outputs that people read, in the order of the recipe. */
export function textOutputs(plan: Plan): readonly string[] {
  return Object.entries(plan.outputs).flatMap(([name, { kind }]) => (TEXTS.has(kind) ? [name] : []));
}

const known = new WeakMap<Plan, Chains>();

export function chainsOf(plan: Plan): Chains {
  const before = known.get(plan);
  if (before !== undefined) return before;
  const chains = findChains(plan);
  known.set(plan, chains);
  return chains;
}

function findChains(plan: Plan): Chains {
  const graph = new Graph(plan);
  const all = plan.nodes.flatMap((node) =>
    portsOf(node, 'completion').map((port) => graph.chain({ from: 'node', node: node.name, port })),
  );
  const outputs = Object.entries(plan.outputs);
  const texts = new Set(textOutputs(plan));
  const refOf = (name: string | undefined): readonly Reference[] => {
    const output = plan.outputs[name ?? ''];
    return output === undefined ? [] : [output.ref];
  };
  // A recipe may give its question back too: the answer is what was generated.
  const names = outputs.map(([name]) => name);
  const generated = names.filter((name) => graph.nearest(refOf(name), 'completion') !== undefined);
  const answer = generated.find((name) => texts.has(name)) ?? names.find((name) => texts.has(name));
  const completion = graph.nearest(refOf(answer), 'completion') ?? graph.nearest(refOf(generated[0]), 'completion');
  const main =
    completion === undefined
      ? (all.at(-1) ?? graph.prompt(outputs.map(([, { ref }]) => ref)))
      : graph.chain(completion);
  return { ...(answer === undefined ? {} : { answer }), main, all };
}

class Graph {
  readonly #nodes: ReadonlyMap<string, PlanNode>;

  constructor(plan: Plan) {
    this.#nodes = new Map(plan.nodes.map((node) => [node.name, node]));
  }

  /** A completion and what its prompt was made of. */
  chain(completion: Reference): Chain & { readonly completion: string } {
    const node = completion.from === 'node' ? this.#nodes.get(completion.node) : undefined;
    return { ...this.prompt(Object.values(node?.inputs ?? {})), completion: refKey(completion) };
  }

  /** What these references descend from, short of an earlier completion: that one's prompt is another. */
  prompt(from: readonly Reference[]): Chain {
    const tokens = this.nearest(from, 'tokens');
    const embeddings = this.nearest(from, 'embeddings');
    const pixels = this.nearest(from, 'pixels') ?? this.#beside(tokens, 'pixels');
    return {
      ...(tokens === undefined ? {} : { tokens: refKey(tokens) }),
      ...(embeddings === undefined ? {} : { embeddings: refKey(embeddings) }),
      ...(pixels === undefined ? {} : { pixels: refKey(pixels) }),
    };
  }

  /** The first value of this kind on the way back from these references, breadth first. */
  nearest(from: readonly Reference[], kind: PortKind): Reference | undefined {
    const seen = new Set<string>();
    let row = from;
    while (row.length > 0) {
      const found = row.find((ref) => this.#kind(ref) === kind);
      if (found !== undefined) return found;
      row = row.flatMap((ref) => {
        if (ref.from === 'input' || seen.has(ref.node) || this.#kind(ref) === 'completion') return [];
        seen.add(ref.node);
        return Object.values(this.#nodes.get(ref.node)?.inputs ?? {});
      });
    }
    return undefined;
  }

  #kind(ref: Reference): PortKind | undefined {
    return ref.from === 'input' ? undefined : this.#nodes.get(ref.node)?.manifest.outputs[ref.port]?.kind;
  }

  /** Another output of the node that gave a value. */
  #beside(ref: Reference | undefined, kind: PortKind): Reference | undefined {
    const node = ref?.from === 'node' ? this.#nodes.get(ref.node) : undefined;
    const port = node === undefined ? undefined : portsOf(node, kind)[0];
    return node === undefined || port === undefined ? undefined : { from: 'node', node: node.name, port };
  }
}

function portsOf(node: PlanNode, kind: PortKind): readonly string[] {
  return Object.entries(node.manifest.outputs).flatMap(([port, output]) => (output.kind === kind ? [port] : []));
}
