/**
 * Which mode may serve on this device. Each is tested once, before it serves for the first time, and again when
 * anything changes that plans or kernels depend on; the verdict is kept beside the plans.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { SdkError } from '../../../core/errors.js';
import { type Logger, silentLogger } from '../../../core/logger.js';
import { LOWERING_VERSION } from '../../../graph/tensorrt/index.js';
import type { OpenEngineOptions } from '../../options.js';
import { defaultCacheDirectory } from '../../shared/prepared-cache.js';
import type { TensorRtHost } from '../host.js';
import type { TensorRtMode } from '../lowering.js';
import type { TensorRtPlatform } from '../status.js';
import type { SelfTestOptions, SelfTestReport } from './report.js';
import { runSelfTest } from './self-test.js';
import { SELF_TEST_VERSION } from './synthetic-model.js';

const verdictSchema = z.object({ passed: z.boolean(), reason: z.string().nullable() });
type Verdict = z.output<typeof verdictSchema> & { readonly isDeviceFailure?: boolean };
const markerSchema = z.object({ pid: z.int().positive(), bootId: z.string() });

export type GateOptions = Pick<OpenEngineOptions, 'cacheDirectory' | 'onProgress' | 'logger' | 'signal'>;

/**
 * The named mode, or with `auto` own kernels before standard operators.
 * @throws SdkError ERR_ENGINE_INCOMPATIBLE when none passes; the message names the first layer that differs
 */
export async function chooseTestedMode(
  host: TensorRtHost,
  platform: TensorRtPlatform,
  wanted: 'auto' | TensorRtMode,
  options: GateOptions,
): Promise<TensorRtMode> {
  const logger: Logger = options.logger ?? silentLogger;
  const reasons: string[] = [];
  for (const mode of wanted === 'auto' ? (['plugin', 'native'] as const) : [wanted]) {
    if (mode === 'plugin' && !platform.device.hasKernels) {
      reasons.push('plugin mode: the addon was built without CUDA kernels; install nvcc, then `npm run build:native`');
      continue;
    }
    const verdict = (await readVerdict(host, platform, mode, options)) ?? (await test(host, platform, mode, options));
    if (verdict.passed) return mode;
    // What a failed context says of the next mode would be no verdict: that one is tested by a new process.
    if (verdict.isDeviceFailure === true && host.runSelfTest === undefined) {
      reasons.push(`${mode} mode: ${verdict.reason ?? 'failed'}`, 'the device failed: restart the process');
      break;
    }
    const reason = `${mode} mode: ${verdict.reason ?? 'failed'}`;
    logger.log('warn', `the self-test of the TensorRT backend failed in ${reason}`);
    reasons.push(reason);
  }
  throw new SdkError(
    'ERR_ENGINE_INCOMPATIBLE',
    `TensorRT ${platform.libraryVersion} on ${platform.device.name} does not compute what it should, so it does not serve:\n${reasons.map((reason) => `  ${reason}`).join('\n')}\n\`scenebus doctor --self-test\` repeats the test layer by layer. Use the cpu backend meanwhile.`,
    { details: { reasons } },
  );
}

async function test(
  host: TensorRtHost,
  platform: TensorRtPlatform,
  mode: TensorRtMode,
  options: GateOptions,
): Promise<Verdict> {
  const marker = `${verdictFile(host, platform, mode, options)}.started`;
  if (await isStale(marker)) {
    const reason = 'an earlier self-test was begun and never ended: it took its process or the board with it';
    await keepVerdict(host, platform, { mode, reason }, options);
    await rm(marker, { force: true });
    return { passed: false, reason };
  }
  await writeMarker(marker);
  try {
    let report = await testOn(host, { ...options, mode, layers: false });
    // Which layer it is, is asked when something is wrong.
    if (report.reason !== null && report.checks.length > 0) {
      const closer = await testOn(host, { ...options, mode, layers: true });
      if (closer.reason !== null) report = closer;
    }
    await keepVerdict(host, platform, report, options);
    return { passed: report.reason === null, reason: report.reason, isDeviceFailure: report.isDeviceFailure };
  } finally {
    await rm(marker, { force: true }).catch(() => {});
  }
}

/** In a process of its own where the host has one. */
export function testOn(host: TensorRtHost, options: SelfTestOptions): Promise<SelfTestReport> {
  return host.runSelfTest === undefined ? runSelfTest(host, options) : host.runSelfTest(options);
}

/** That a test has begun; who does not live to take it away has failed it. */
async function writeMarker(file: string): Promise<void> {
  try {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, JSON.stringify({ pid: process.pid, bootId: await bootId() }));
  } catch {
    // As with a verdict that cannot be kept, which is told.
  }
}

/** Whoever wrote it is gone: it does not run any more, or ran before this start of the machine. */
async function isStale(file: string): Promise<boolean> {
  let marker: z.output<typeof markerSchema>;
  try {
    marker = markerSchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch {
    return false; // none, or not readable
  }
  if (marker.bootId !== (await bootId())) return true;
  try {
    process.kill(marker.pid, 0);
    return false; // another process is at it now
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Process ids are reused after a restart of the machine. */
async function bootId(): Promise<string> {
  return readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
    (text) => text.trim(),
    () => '',
  );
}

/** Remembers a verdict, whatever was remembered before. */
export async function keepVerdict(
  host: TensorRtHost,
  platform: TensorRtPlatform,
  { mode, reason }: Pick<SelfTestReport, 'mode' | 'reason'>,
  options: GateOptions,
): Promise<void> {
  const file = verdictFile(host, platform, mode, options);
  try {
    await mkdir(path.dirname(file), { recursive: true });
    const draft = `${file}.${process.pid}.partial`;
    await writeFile(draft, `${JSON.stringify({ passed: reason === null, reason } satisfies Verdict, null, 2)}\n`);
    await rename(draft, file);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const message = `The verdict of the self-test could not be kept in ${file} (${why}): it runs at every start.`;
    (options.logger ?? silentLogger).log('warn', message);
  }
}

async function readVerdict(
  host: TensorRtHost,
  platform: TensorRtPlatform,
  mode: TensorRtMode,
  options: GateOptions,
): Promise<Verdict | undefined> {
  try {
    const text = await readFile(verdictFile(host, platform, mode, options), 'utf8');
    return verdictSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // not tested yet, or not readable: tested again
  }
}

/** Named by everything that plans and kernels depend on. */
function verdictFile(
  { identity, types }: TensorRtHost,
  { status, device, libraryVersion }: TensorRtPlatform,
  mode: TensorRtMode,
  { cacheDirectory }: GateOptions,
): string {
  const { name, smMajor, smMinor, smCount, driverVersion } = device;
  const { compiledFor, l4tRelease, powerMode } = status;
  const versions = [SELF_TEST_VERSION, LOWERING_VERSION, compiledFor, libraryVersion, driverVersion, l4tRelease];
  const facts = [...versions, powerMode, name, smMajor, smMinor, smCount, identity, types ?? null, mode];
  const key = createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 32);
  return path.join(selfTestFolder(cacheDirectory), `${key}.json`);
}

/** Where results of self-tests are kept, below the cache directory. */
function selfTestFolder(cacheDirectory = defaultCacheDirectory()): string {
  return path.join(path.resolve(cacheDirectory), 'tensorrt-self-test');
}
