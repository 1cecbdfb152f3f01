/**
 * `scenebus quantize` at the sizes of the 11B model, in a process of its own: time, and the most memory it ever held.
 * Random weights in bfloat16; pictures, and what is asked about them, are the demo model's.
 */
import { spawn } from 'node:child_process';
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { packageRoot } from '#sdk/native/index.js';
import { memoryOf } from './memory.js';
import { randomSource } from './random-model.js';

export interface QuantizeBenchOptions {
  readonly directory: string;
  readonly method: 'rtn' | 'awq';
  readonly groupSize: number;
  /** Of the text decoder; the vision tower is whole. */
  readonly layers: number;
  /** For awq: pictures to calibrate with. Each takes a minute on two cores. */
  readonly pictures: number;
}

export interface QuantizeBenchResult {
  readonly sourceBytes: number;
  readonly seconds: number;
  /** The most that was resident, mapped files included. */
  readonly peakBytes: number;
  /** The most anonymous memory seen. */
  readonly peakAnonymousBytes: number;
}

const SAMPLE_MS = 50;

/** @throws Error when the command fails; it has said why */
export async function benchQuantize(options: QuantizeBenchOptions): Promise<QuantizeBenchResult> {
  const { directory, method, groupSize, layers, pictures } = options;
  const source = await randomSource(directory, layers);
  const output = `${source}-${method}`;
  const scenes = path.join(directory, 'quantize-scenes.jsonl');
  writeFileSync(scenes, demoScenes(pictures));
  const calibrate = method === 'awq' ? ['--calibrate', scenes] : [];
  const command = [path.join(packageRoot(), 'dist', 'device', 'cli', 'main.js'), 'quantize', source, output];
  const start = performance.now();
  const child = spawn(process.execPath, [...command, '--method', method, '--group', `${groupSize}`, ...calibrate], {
    stdio: 'inherit',
  });
  let peakBytes = 0;
  let peakAnonymousBytes = 0;
  const sampling = setInterval(() => {
    const memory = memoryOf(child.pid!);
    peakBytes = Math.max(peakBytes, memory.peak);
    peakAnonymousBytes = Math.max(peakAnonymousBytes, memory.anonymous);
  }, SAMPLE_MS);
  const code = await new Promise((resolve) => child.once('exit', resolve));
  clearInterval(sampling);
  const seconds = (performance.now() - start) / 1000;
  rmSync(output, { recursive: true, force: true });
  if (code !== 0) throw new Error(`scenebus quantize ended with ${code}`);

  const sourceBytes = statSync(path.join(source, 'model.safetensors')).size;
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  console.log(
    `${method}, ${layers} text layers, ${gigabytes(sourceBytes)}: ${seconds.toFixed(0)} s, at most ${gigabytes(peakBytes)} resident, ${gigabytes(peakAnonymousBytes)} of it anonymous`,
  );
  return { sourceBytes, seconds, peakBytes, peakAnonymousBytes };
}

/** The first scenes of the demo model's evaluation, pictures by absolute path. */
function demoScenes(count: number): string {
  const folder = path.join(packageRoot(), 'examples', 'demo-model', 'evaluation');
  const lines = readFileSync(path.join(folder, 'scenes.jsonl'), 'utf8').split('\n', count);
  return lines
    .map((line) => JSON.parse(line))
    .map((scene) => JSON.stringify({ ...scene, image: path.resolve(folder, scene.image) }))
    .join('\n');
}
