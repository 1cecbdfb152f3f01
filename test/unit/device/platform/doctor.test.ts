import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { checkCuda, checkTensorRt } from '#device/platform/doctor/accelerator-checks.js';
import { checkCaptureAddon, checkEngineAddon } from '#device/platform/doctor/addon-checks.js';
import { checkCameraDevices } from '#device/platform/doctor/camera-checks.js';
import { diagnose } from '#device/platform/doctor/diagnose.js';
import { checkModel } from '#device/platform/doctor/model-check.js';
import { checkBroker, checkOnnxRuntime } from '#device/platform/doctor/software-checks.js';
import { checkMemory, checkNode, checkProcessor, checkSharedMemory } from '#device/platform/doctor/system-checks.js';
import type { Machine } from '#device/platform/machine.js';
import { copyCheckpoint } from '../../checkpoint/checkpoint-folder.js';

/** A machine with nothing on it, plus what a test puts there. */
function machine(parts: Partial<Machine> = {}): Machine {
  return {
    nodeVersion: 'v20.11.0',
    architecture: 'x64',
    environment: {},
    processors: { model: 'Test', count: 4 },
    memory: { totalBytes: 4 * 2 ** 30, availableBytes: 2 ** 30 },
    readText: async () => null,
    list: async () => [],
    isAccessible: async () => true,
    freeBytes: async () => null,
    run: async () => null,
    isListening: async () => false,
    ...parts,
  };
}
const files =
  (content: Readonly<Record<string, string>>): Machine['readText'] =>
  async (path) =>
    content[path] ?? null;

describe('doctor', () => {
  test('names every finding once and gives each absence a meaning', async () => {
    const findings = await diagnose({ machine: machine() });
    const ids = findings.map((finding) => finding.id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const finding of findings) if (finding.status === 'absent') expect(finding.meaning, finding.id).toBeTruthy();
  });

  test('refuses an old Node and an architecture without binaries', () => {
    expect(checkNode(machine())).toMatchObject({ status: 'ok' });
    expect(checkNode(machine({ nodeVersion: 'v18.20.0' }))).toMatchObject({ status: 'problem' });
    expect(checkNode(machine({ architecture: 'riscv64' }))).toMatchObject({ status: 'problem' });
  });

  test('reads instruction sets of x64 and arm64', async () => {
    const x64 = { '/proc/cpuinfo': 'flags\t\t: fpu avx2 avx512_vnni\n' };
    const arm = { '/proc/cpuinfo': 'Features\t: fp asimd asimddp\n' };
    expect((await checkProcessor(machine({ readText: files(x64) }))).value).toContain('AVX-512 VNNI, AVX2');
    expect((await checkProcessor(machine({ readText: files(arm) }))).value).toContain('NEON dot product');
    expect(await checkProcessor(machine())).toMatchObject({ status: 'absent' });
  });

  test('counts memory that the page cache would give back as available', async () => {
    const readText = files({ '/proc/meminfo': 'MemTotal: 16777216 kB\nMemAvailable:   12582912 kB\n' });
    expect(await checkMemory(machine({ readText }))).toMatchObject({ status: 'ok' });
    expect((await checkMemory(machine())).value).toContain('1.0 GiB available');
  });

  test('finds shared memory that is missing or too small for frames', async () => {
    expect(await checkSharedMemory(machine())).toMatchObject({ status: 'problem' });
    const small = machine({ freeBytes: async () => 2 ** 20 });
    expect(await checkSharedMemory(small)).toMatchObject({ status: 'problem' });
    const enough = machine({ freeBytes: async () => 2 ** 28 });
    expect(await checkSharedMemory(enough)).toMatchObject({ status: 'ok' });
  });

  test('tells a library that does not load from one that does', async () => {
    const broken = machine({ run: async () => ({ code: 1, output: 'x\nError: GLIBC_2.99 not found\n' }) });
    expect(await checkOnnxRuntime(broken)).toMatchObject({
      status: 'problem',
      value: 'does not load: Error: GLIBC_2.99 not found',
    });
    const good = machine({ run: async () => ({ code: 0, output: '1.30.0\n' }) });
    expect(await checkOnnxRuntime(good)).toMatchObject({ status: 'ok', value: 'onnxruntime-node 1.30.0' });
  });

  test('recognises a Jetson and a graphics card', async () => {
    const release = (revision: string) => ({
      '/etc/nv_tegra_release': `# R36 (release), REVISION: ${revision}, GCID: 1, BOARD: generic\n`,
    });
    const jetson = machine({ readText: files(release('4.3')) });
    expect(await checkCuda(jetson)).toMatchObject({ status: 'ok', value: 'Jetson, JetPack 6.2 (L4T 36.4.3)' });
    const old = machine({ readText: files(release('3.0')) });
    expect(await checkCuda(old)).toMatchObject({ status: 'absent', meaning: expect.stringContaining('has no int4') });
    const card = machine({ run: async () => ({ code: 0, output: 'NVIDIA X, 550.1\n' }) });
    expect((await checkCuda(card)).value).toBe('NVIDIA X, 550.1');
  });

  test('repeats what the addon says about TensorRT, and what follows from it', async () => {
    const device = { name: 'Orin', hasKernels: true };
    const library = { path: '/usr/lib/libnvinfer.so.10', version: '10.3.0' };
    const fits = { compiledFor: '10.3.0', library, device, problem: null };
    const says = (status: object | null, code = 0) =>
      checkTensorRt(machine({ run: async () => ({ code, output: `noise\n${JSON.stringify(status)}\n` }) }));
    expect(await says(fits)).toMatchObject({
      status: 'ok',
      value: 'compiled for 10.3.0, found 10.3.0 at /usr/lib/libnvinfer.so.10, on Orin',
    });
    const noHeaders = { compiledFor: null, library: null, device: null, problem: { code: 'X', message: 'x' } };
    for (const status of [noHeaders, null]) {
      expect(await says(status)).toMatchObject({
        status: 'absent',
        value: 'the engine addon was built without TensorRT',
        remedy: expect.stringContaining('tensorrt-dev'),
      });
    }
    const noLibrary = { ...fits, library: null, problem: { code: 'X', message: 'libnvinfer.so.10\n  was not found' } };
    expect(await says(noLibrary)).toMatchObject({
      status: 'absent',
      value: 'compiled for 10.3.0, found no library',
      meaning: 'models run on the processor: libnvinfer.so.10; was not found',
    });
    expect(await says({ ...fits, device: { ...device, hasKernels: false } })).toMatchObject({
      status: 'absent',
      remedy: expect.stringContaining('nvcc'),
    });
    expect(await says(null, 1)).toMatchObject({ status: 'absent', value: expect.stringContaining('does not load') });
  });

  test('finds cameras, and those that this user may not open', async () => {
    const cameras = {
      list: async () => ['video0', 'video1', 'null'],
      readText: files({ '/sys/class/video4linux/video0/name': 'HD Webcam\n' }),
    };
    expect(await checkCameraDevices(machine(cameras))).toMatchObject({
      status: 'ok',
      value: '/dev/video0 (HD Webcam), /dev/video1 (unnamed)',
    });
    const isAccessible = async (path: string) => path !== '/dev/video1';
    expect(await checkCameraDevices(machine({ ...cameras, isAccessible }))).toMatchObject({
      status: 'problem',
      meaning: 'this user may not open /dev/video1',
    });
  });

  test('sees a broker that listens', async () => {
    expect(await checkBroker(machine({ isListening: async () => true }))).toMatchObject({ status: 'ok' });
    expect(await checkBroker(machine())).toMatchObject({ status: 'absent' });
  });

  test('says which video backends OpenCV was built without, and what that costs', async () => {
    const build = (backends: string[]) =>
      machine({ run: async () => ({ code: 0, output: `${JSON.stringify({ version: '4.6.0', backends })}\n` }) });
    expect(await checkCaptureAddon(build(['FFMPEG', 'GSTREAMER', 'V4L2']))).toMatchObject({
      status: 'ok',
      value: 'OpenCV 4.6.0 with FFmpeg, GStreamer, V4L2',
    });
    expect(await checkCaptureAddon(build(['FFMPEG', 'V4L2']))).toMatchObject({
      status: 'absent',
      meaning: 'no GStreamer: no CSI cameras, and RTSP only through FFmpeg',
    });
  });

  test('tells an addon that was not built from one that does not load', async () => {
    const fails = (output: string) => machine({ run: async () => ({ code: 1, output }) });
    const absent = 'SdkError: Expected the native addon\n  /a/scenebus_engine.node: does not exist\n';
    expect(await checkEngineAddon(fails(absent))).toMatchObject({ status: 'problem', value: 'not built' });
    const broken = `${absent}  /b/scenebus_engine.node: libx.so: cannot open\n`;
    expect((await checkEngineAddon(fails(broken))).value).toContain('libx.so: cannot open');
    expect(await checkCaptureAddon(fails(absent))).toMatchObject({ status: 'problem', value: 'not built' });
  });

  test('looks into a model folder', async () => {
    const tiny = fileURLToPath(new URL('../../../fixtures/golden/tiny-a', import.meta.url));
    expect((await checkModel(tiny)).value).toMatch(/^tiny-a: \d+ tensors, float, writes no boxes/);
    expect(await checkModel('/nonexistent')).toMatchObject({ status: 'problem' });
    expect((await checkModel('meta-llama/Llama-3.2-11B-Vision')).value).toContain('hf download');
    const folder = copyCheckpoint();
    writeFileSync(join(folder, 'adapter_config.json'), '{}');
    expect((await checkModel(folder)).meaning).toContain('adapter_config.json beside the weights is not applied');
  });
});
