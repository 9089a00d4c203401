/** Arguments of a command that a message proposes, as one types them in a shell. */
export function typed(args: readonly string[]): string {
  return args.map((arg) => (/^[\w./:=,@+-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", "'\\''")}'`)).join(' ');
}
