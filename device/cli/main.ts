#!/usr/bin/env node
/** The command `scenebus`: signals in, exit code out. */
import { runCli } from './program.js';

const interruption = new AbortController();
let signals = 0;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The first asks for a clean end; who asks again does not want to wait for it.
    if (++signals > 1) process.exit(130);
    interruption.abort();
  });
}

process.exitCode = await runCli(process.argv.slice(2), { signal: interruption.signal });
