#!/usr/bin/env node
/** The command `scenebus`: signals in, exit code out. */
import { EXIT_CODES, OutputClosedError, reportError } from './exit-codes.js';
import { ReloadSignal } from './reload-signal.js';
import { createTerminal } from './terminal.js';

const interruption = new AbortController();
const reloads = new ReloadSignal();
let signals = 0;
// SIGHUP is the end of the terminal that a service was started from: it says goodbye like after the others; or, with a
// terminal or without one as before, the wish that it reads its configuration again.
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    if (name === 'SIGHUP' && reloads.receive()) return;
    // The first asks for a clean end; who asks again does not want to wait for it.
    if (++signals > 1) process.exit(EXIT_CODES.interrupted);
    interruption.abort();
  });
}

let isOutputClosed = false;
process.stdout.on('error', () => {
  isOutputClosed = true;
  interruption.abort(new OutputClosedError('Nobody reads the output any more.'));
});
// Nobody reads what is said on the way; the work itself goes on.
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
