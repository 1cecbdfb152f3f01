#!/usr/bin/env node
/** The command `scenebus`: signals in, exit code out. */
const interruption = new AbortController();
let signals = 0;
for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.on(name, () => {
    // The first asks for a clean end; who asks again does not want to wait for it.
    if (++signals > 1) process.exit(130);
    interruption.abort();
  });
}

try {
  const { runCli } = await import('./program.js');
  process.exitCode = await runCli(process.argv.slice(2), { signal: interruption.signal });
} catch (error) {
  // Only loading can fail here: a package is missing, or its binary is not for this machine.
  process.stderr.write(`error ERR_NATIVE_UNAVAILABLE: SceneBus is not installed completely: ${messageOf(error)}\n`);
  process.stderr.write('Run `npm run setup` in the SceneBus folder, or install the package again.\n');
  process.exitCode = 1;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export {};
