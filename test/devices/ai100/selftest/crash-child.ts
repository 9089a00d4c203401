/** In place of the kit's child: it dies of one check, and passes the others. */
process.on('message', ({ check }: { readonly check: string }) => {
  if (check === 'device/log-level') process.kill(process.pid, 'SIGSEGV');
  else process.send?.({ verdict: 'passed', received: 'as told' });
});
process.on('disconnect', () => process.exit(0));
process.send?.('ready');
