#!/usr/bin/env node
/** The command `scenebus`: signals in, exit code out. */
import { EXIT_CODES, OutputClosedError, reportError } from './exit-codes.js';
import { ReloadSignal } from './reload-signal.js';
import { createTerminal } from './terminal.js';

const interruption = new AbortController();
const reloads = new ReloadSignal();
let signals = 0;
// SIGHUP means that the terminal which started the service has closed: shut down as for the other signals. When there
// is no terminal, or it is still open, SIGHUP is a request to reload the configuration.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    if (name === 'SIGHUP' && reloads.receive()) return;
    // The first signal asks for a clean shutdown, a second one skips it.
    if (++signals > 1) process.exit(EXIT_CODES.interrupted);
    interruption.abort();
  });
}

let isOutputClosed = false;
process.stdout.on('error', () => {
  isOutputClosed = true;
  interruption.abort(new OutputClosedError('The reader of the output has closed it.'));
});
// A closed stderr only loses progress and log lines; the work continues.
process.stderr.on('error', () => {});

try {
  const { runCli } = await import('./program.js');
  process.exitCode = await runCli(process.argv.slice(2), { signal: interruption.signal, reloads });
} catch (error) {
  process.exitCode = await reportError(error, createTerminal());
}
// Written lines fail later than they are written.
process.on('exit', () => {
  if (isOutputClosed) process.exitCode = EXIT_CODES.outputClosed;
});
