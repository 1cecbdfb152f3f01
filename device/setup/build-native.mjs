/**
 * Builds both addons and the C++ tests into native/build. Configures only when something that CMake looked for may
 * have changed; the build itself is incremental, so that a second run takes a moment.
 *
 *   node device/setup/build-native.mjs [-DSCENEBUS_CAPTURE=OFF …]
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasCommand, probeMachine, repositoryRoot, run, StepFailed, say } from './machine.mjs';
import { NEEDS } from './system-packages.mjs';

const folder = join(repositoryRoot, 'native', 'build');
const keyFile = join(folder, '.scenebus-configured');

/**
 * Compiling OpenCV headers takes up to a gigabyte a job: a board with little memory must not swap.
 * @param {number} processors
 * @param {number} memoryBytes
 */
export function buildJobs(processors, memoryBytes) {
  return Math.max(1, Math.min(processors, Math.floor(memoryBytes / 2 ** 30)));
}

/**
 * Changes when CMake must configure again: other options, another checkout, a library that came or went.
 * @param {readonly string[]} options
 * @param {import('./system-packages.mjs').Probe} probe
 * @param {string} root
 */
export function configureKey(options, probe, root) {
  const { CXX, CXXFLAGS, OpenCV_DIR } = probe.environment;
  const present = NEEDS.map((need) => [need.what, need.isPresent(probe)]);
  const facts = { options, present, root, CXX, CXXFLAGS, OpenCV_DIR, ninja: probe.command('ninja') };
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex');
}

/** Whether CMake must configure before it builds. */
export function mustConfigure(options = []) {
  return readText(keyFile) !== configureKey(options, probeMachine(), repositoryRoot);
}

/** @param {readonly string[]} [options] extra `-D…` options */
export async function buildNative(options = []) {
  const key = configureKey(options, probeMachine(), repositoryRoot);
  try {
    if (readText(keyFile) !== key) {
      say('native build: configuring');
      mkdirSync(folder, { recursive: true });
      // The cache remembers that OpenCV was not found, and which folder it was made in. Objects stay: what compiles
      // with the same command again is not compiled again.
      rmSync(join(folder, 'CMakeCache.txt'), { force: true });
      const generator = hasCommand('ninja') ? 'Ninja' : 'Unix Makefiles';
      const headers = `-DSCENEBUS_NODE_MODULES=${findNodeApiHeaders()}`;
      await run(['cmake', '-S', '.', '-B', folder, '-G', generator, headers, ...options], { quiet: true });
      writeFileSync(keyFile, key);
    }
    say('native build: compiling what changed');
    const jobs = buildJobs(availableParallelism(), totalmem());
    await run(['cmake', '--build', folder, '--parallel', String(jobs)]);
  } catch (error) {
    if (error instanceof StepFailed)
      throw new StepFailed(`${error.message}\nThe native build failed. Remove native/build and try again.`);
    throw error;
  }
}

/** The node_modules folder with the Node-API headers: ours in a checkout, the one around us in an installed package. */
function findNodeApiHeaders() {
  const require = createRequire(join(repositoryRoot, 'package.json'));
  try {
    return dirname(dirname(require.resolve('node-api-headers/package.json')));
  } catch {
    throw new StepFailed('The npm packages are missing: run npm ci first.');
  }
}

/** @param {string} path */
function readText(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  buildNative(process.argv.slice(2)).catch((error) => {
    if (!(error instanceof StepFailed)) throw error;
    say(error.message);
    process.exitCode = 1;
  });
}
