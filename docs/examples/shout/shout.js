/** A node of one's own: see docs/adding-a-node.md. */
export const manifest = {
  kind: 'shout',
  description: 'Turns the answer into capitals.',
  stage: 'fuse',
  inputs: { text: { kind: 'text', description: 'The text to change.' } },
  outputs: { text: { kind: 'text', description: 'The same text in capitals.' } },
  options: {
    mark: { type: 'string', default: '!', description: 'Put at the end.', examples: ['!'] },
  },
};

export async function run(items, context) {
  return items.map((inputs) => {
    context.checkCancelled();
    const text = inputs.text.text.toUpperCase() + context.options.mark;
    return { ok: true, outputs: { text: { kind: 'text', text } } };
  });
}
