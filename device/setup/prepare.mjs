/**
 * Makes a fresh machine ready: system packages, npm packages, native build, TypeScript. Called by `npm run demo`,
 * `npm test` and `npm run setup`; when everything is there it only looks and takes a moment.
 *
 *   node device/setup/prepare.mjs [--for demo|test] [--dry-run]
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildNative, mustConfigure } from './build-native.mjs';
import { buildPage } from './build-page.mjs';
import { pruneRuntime } from './foreign-binaries.mjs';
import { hasCommand, inspectMachine, probeMachine, repositoryRoot, run, StepFailed, say } from './machine.mjs';
import { packagesReason, preparePackages } from './npm-packages.mjs';
import { describePlan, missingNeeds, nodeVersionProblem, planInstallation } from './system-packages.mjs';

/** @param {readonly string[]} args */
function parseArguments(args) {
  let purpose = 'demo';
  let dryRun = false;
  for (let i = 0; i < args.length; i++) {
    const arg = args[i];
    if (arg === '--dry-run') dryRun = true;
    else if (arg === '--for' && (args[i + 1] === 'demo' || args[i + 1] === 'test')) purpose = args[++i];
    else throw new StepFailed(`Expected [--for demo|test] [--dry-run], but got "${arg}"`);
  }
  return { purpose, dryRun };
}

/** @param {'demo' | 'test'} purpose */
async function prepareSystem(purpose, dryRun) {
  const missing = missingNeeds(purpose, probeMachine());
  const plan = planInstallation(missing, inspectMachine());
  for (const line of describePlan(missing, plan)) say(line);
  if (plan.kind === 'none') return say('system packages: all there');
  if (dryRun) return;
  if (plan.kind === 'manual') throw new StepFailed('Nothing was changed.');

  if (plan.updateFirst) await run(plan.update);
  try {
    await run(plan.install);
  } catch (error) {
    if (plan.updateFirst) throw error;
    say('apt-get install failed; its package lists may be old: updating them and trying once more');
    await run(plan.update);
    await run(plan.install);
  }
  if (plan.packages.includes('mosquitto')) await keepBrokerStopped(plan.install);

  const still = missingNeeds(purpose, probeMachine());
  if (still.length > 0)
    throw new StepFailed(`Still missing after the installation: ${still.map((need) => need.what).join(', ')}`);
}

/**
 * Debian starts a service when it installs one. The tests start brokers of their own on free ports: nobody asked for
 * one that keeps running.
 */
async function keepBrokerStopped(installCommand) {
  if (!existsSync('/run/systemd/system') || !hasCommand('systemctl')) return;
  const privilege = installCommand.slice(0, installCommand.indexOf('env'));
  say('mosquitto was installed for the tests only: its system service is switched off');
  await run([...privilege, 'systemctl', 'disable', '--now', 'mosquitto.service'], { quiet: true });
}

async function prepareTypeScript() {
  say('TypeScript: compiling what changed');
  await run([process.execPath, join(repositoryRoot, 'node_modules', 'typescript', 'bin', 'tsc'), '-b']);
}

/** What a run would do after the system packages; nothing is changed. */
function sayPlan(isCheckout, options) {
  const reason = isCheckout ? packagesReason() : null;
  if (isCheckout) say(`npm packages: ${reason === null ? 'up to date' : `${reason}; npm ci would run`}`);
  say(`native build: the addons would be ${mustConfigure(options) ? 'configured and built' : 'brought up to date'}`);
  if (isCheckout) say('TypeScript: what changed would be compiled');
  if (isCheckout) say('page of the console: what changed would be built');
}

/** One step with its time, so that a slow one is seen. */
async function timed(name, step) {
  const startedAt = process.hrtime.bigint();
  await step();
  const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9;
  if (seconds >= 1) say(`${name}: took ${seconds.toFixed(1)} s`);
}

async function main() {
  const { purpose, dryRun } = parseArguments(process.argv.slice(2));
  const problem = nodeVersionProblem(process.version);
  if (problem !== null) throw new StepFailed(problem);
  if (process.platform !== 'linux') throw new StepFailed(`Expected Linux, but this is ${process.platform}.`);
  const startedAt = process.hrtime.bigint();
  // An installed package brings its JavaScript and has its dependencies beside it; only the addons are to be built.
  const isCheckout = existsSync(join(repositoryRoot, 'package-lock.json'));
  // The tests in C++ are two thirds of the build, and the demo needs none of them. A build that has them keeps them.
  const options = purpose === 'test' || !mustConfigure([]) ? [] : ['-DSCENEBUS_NATIVE_TESTS=OFF'];
  await timed('system packages', () => prepareSystem(purpose, dryRun));
  if (dryRun) return sayPlan(isCheckout, options);
  if (isCheckout) await timed('npm packages', preparePackages);
  else pruneRuntime();
  await timed('native build', () => buildNative(options));
  if (isCheckout) await timed('TypeScript', prepareTypeScript);
  if (isCheckout) await timed('page of the console', buildPage);
  const seconds = Number(process.hrtime.bigint() - startedAt) / 1e9;
  say(`ready in ${seconds.toFixed(1)} s`);
}

main().catch((error) => {
  if (!(error instanceof StepFailed)) throw error;
  say(error.message);
  process.exitCode = 1;
});
