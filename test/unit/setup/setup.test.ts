import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import {
  buildNative,
  foreignBinaries,
  type Machine,
  npmPackages,
  type Probe,
  systemPackages,
} from './setup-modules.js';

const { missingNeeds, planInstallation, describePlan, nodeVersionProblem } = systemPackages;

function probe(commands: readonly string[] = [], files: readonly string[] = [], environment = {}): Probe {
  return {
    command: (name) => commands.includes(name),
    file: (path) => files.includes(path),
    environment,
    multiarch: 'x86_64-linux-gnu',
  };
}
const names = (purpose: 'demo' | 'test', p: Probe) => missingNeeds(purpose, p).flatMap((need) => need.packages);

const opencvFiles = [
  '/usr/include/opencv4/opencv2/core/version.hpp',
  '/usr/lib/x86_64-linux-gnu/cmake/opencv4/OpenCVConfig.cmake',
];
const root: Machine = { hasApt: true, isRoot: true, hasSudo: false, isInteractive: false, hasPackageLists: true };

describe('what the system lacks', () => {
  test('finds everything missing on a bare machine, and more for the tests than for the demo', () => {
    expect(names('demo', probe())).toEqual(['g++', 'cmake', 'ninja-build', 'libopencv-videoio-dev']);
    expect(names('test', probe())).toEqual([
      ...[
        'g++',
        'cmake',
        'ninja-build',
        'libopencv-videoio-dev',
        'libopencv-calib3d-dev',
        'libopencv-contrib-dev',
        'camera-calibration-parsers-tools',
        'mosquitto',
        'mosquitto-clients',
        'python3-paho-mqtt',
        'chromium',
        'ffmpeg',
      ],
      ...['gstreamer1.0-plugins-base', 'gstreamer1.0-plugins-good', 'g++-aarch64-linux-gnu', 'qemu-user'],
    ]);
  });

  test('wants the tools that test the Arm kernels, on other machines than Arm ones', () => {
    const tools = ['g++-aarch64-linux-gnu', 'qemu-user'];
    const wanted = (p: Probe) => names('test', p).filter((name) => tools.includes(name));
    expect(wanted(probe())).toEqual(tools);
    expect(wanted(probe(['aarch64-linux-gnu-g++']))).toEqual(['qemu-user']);
    expect(wanted(probe(['aarch64-linux-gnu-g++', 'qemu-aarch64']))).toEqual([]);
    expect(wanted({ ...probe(), multiarch: 'aarch64-linux-gnu' })).toEqual([]);
    expect(names('demo', probe())).not.toContain('qemu-user');
  });

  test('accepts any compiler and either build tool', () => {
    expect(names('demo', probe(['clang++', 'cmake', 'make'], opencvFiles))).toEqual([]);
    expect(names('demo', probe(['cmake', 'ninja'], opencvFiles, { CXX: '/opt/g++' }))).toEqual([]);
  });

  test('takes OpenCV 5 for an OpenCV', () => {
    const five = opencvFiles.map((file) => file.replace('opencv4', 'opencv5'));
    expect(names('demo', probe(['g++', 'cmake', 'make'], five))).toEqual([]);
  });

  test('is content with the modules of OpenCV that are used, and not with some of them', () => {
    const tools = ['g++', 'cmake', 'make'];
    const modules = ['core', 'imgproc', 'imgcodecs', 'videoio'];
    const files = [opencvFiles[0]!, ...modules.map((name) => `/usr/lib/x86_64-linux-gnu/libopencv_${name}.so`)];
    expect(names('demo', probe(tools, files))).toEqual([]);
    for (let i = 0; i < files.length; i++) {
      const without = files.filter((_, index) => index !== i);
      expect(names('demo', probe(tools, without))).toEqual(['libopencv-videoio-dev']);
    }
    expect(names('demo', probe(tools, [], { OpenCV_DIR: '/opt/opencv' }))).toEqual([]);
  });

  test('finds an OpenCV built by hand', () => {
    const files = [
      '/usr/local/include/opencv4/opencv2/core/version.hpp',
      '/usr/local/lib/cmake/opencv4/OpenCVConfig.cmake',
    ];
    expect(names('demo', probe(['g++', 'cmake', 'make'], files))).toEqual([]);
  });
});

describe('the installation plan', () => {
  const missing = missingNeeds('demo', probe(['g++', 'make'], opencvFiles));

  test('does nothing when nothing is missing', () => {
    expect(planInstallation([], { ...root, hasApt: false })).toEqual({ kind: 'none' });
  });

  test('calls apt-get directly as root and never asks questions', () => {
    const plan = planInstallation(missing, root);
    expect(plan).toMatchObject({ kind: 'apt', packages: ['cmake'], updateFirst: false });
    const install = plan.kind === 'apt' ? plan.install : [];
    expect(install.slice(0, 3)).toEqual(['env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get']);
    expect(install.slice(-4)).toEqual(['install', '-y', '--no-install-recommends', 'cmake']);
  });

  test('fetches package lists first where there are none', () => {
    expect(planInstallation(missing, { ...root, hasPackageLists: false })).toMatchObject({ updateFirst: true });
  });

  test('uses sudo only when it is not root, and does not wait for a password that nobody can type', () => {
    const user = { ...root, isRoot: false, hasSudo: true };
    const silent = planInstallation(missing, user);
    expect(silent.kind === 'apt' && silent.install.slice(0, 3)).toEqual(['sudo', '-n', 'env']);
    const typed = planInstallation(missing, { ...user, isInteractive: true });
    expect(typed.kind === 'apt' && typed.install.slice(0, 2)).toEqual(['sudo', 'env']);
  });

  test.each([
    ['without apt', { ...root, hasApt: false }, 'apt-get was not found'],
    ['without the right to install', { ...root, isRoot: false }, 'sudo was not found'],
  ])('%s says what to install and why it cannot', (_, machine, reason) => {
    const plan = planInstallation(missing, machine);
    expect(plan).toMatchObject({ kind: 'manual', packages: ['cmake'] });
    const text = describePlan(missing, plan).join('\n');
    expect(text).toContain(reason);
    expect(text).toContain('apt-get install --no-install-recommends cmake');
    expect(text).toContain('drives the native build');
  });

  test('says which packages it installs and why each is needed', () => {
    const all = missingNeeds('test', probe());
    const text = describePlan(all, planInstallation(all, root)).join('\n');
    expect(text).toMatch(/OpenCV 4\.5 or newer with headers +reads cameras and video files +\(libopencv-videoio-dev\)/);
    expect(text).toContain('Installing with apt-get: g++ cmake');
  });
});

describe('the Node version', () => {
  test('is checked before anything is changed', () => {
    expect(nodeVersionProblem('v20.0.0')).toBeNull();
    expect(nodeVersionProblem('v24.1.0')).toBeNull();
    expect(nodeVersionProblem('v18.20.4')).toContain('Expected Node 20 or newer, but this is v18.20.4');
  });
});

describe('npm packages', () => {
  const wanted = {
    packages: {
      '': {},
      'node_modules/mqtt': { version: '5.16.0' },
      'node_modules/fsevents': { version: '2.0.0', optional: true },
    },
  };
  const mqtt = (version: string) => ({ 'node_modules/mqtt': { version } });

  test('are left alone when the installed tree matches, binaries of other platforms aside', () => {
    expect(npmPackages.staleReason(wanted, { packages: mqtt('5.16.0') })).toBeNull();
  });

  test.each([
    ['nothing is installed', null, 'missing or incomplete'],
    ['a package is missing', { packages: {} }, 'mqtt is missing'],
    ['a version differs', { packages: mqtt('5.15.0') }, 'mqtt is 5.15.0, package-lock.json asks for 5.16.0'],
    ['a package was dropped', { packages: { ...mqtt('5.16.0'), 'node_modules/old': {} } }, 'no longer asked for'],
  ])('are installed again when %s', (_, installed, reason) => {
    expect(npmPackages.staleReason(wanted, installed)).toContain(reason);
  });
});

describe('the native build', () => {
  test('never starts more compilers than the memory holds', () => {
    expect(buildNative.buildJobs(8, 64 * 2 ** 30)).toBe(8);
    expect(buildNative.buildJobs(8, 4 * 2 ** 30)).toBe(4);
    expect(buildNative.buildJobs(4, 2 ** 28)).toBe(1);
  });

  test('configures again when a library comes, an option changes or the checkout moves', () => {
    const bare = probe(['g++', 'cmake', 'ninja']);
    const key = buildNative.configureKey([], bare, '/a');
    expect(buildNative.configureKey([], { ...bare }, '/a')).toBe(key);
    expect(buildNative.configureKey([], probe(['g++', 'cmake', 'ninja'], opencvFiles), '/a')).not.toBe(key);
    expect(buildNative.configureKey(['-DSCENEBUS_CAPTURE=OFF'], bare, '/a')).not.toBe(key);
    expect(buildNative.configureKey([], bare, '/b')).not.toBe(key);
    const withArm = probe(['g++', 'cmake', 'ninja', 'aarch64-linux-gnu-g++', 'qemu-aarch64']);
    expect(buildNative.configureKey([], withArm, '/a')).not.toBe(key);
  });
});

describe('the binaries of ONNX Runtime', () => {
  const folder = mkdtempSync(join(tmpdir(), 'scenebus-runtime-'));
  const places = ['darwin/arm64', 'linux/arm64', 'linux/x64', 'win32/x64'];
  const make = (): void => {
    for (const place of places) {
      mkdirSync(join(folder, 'bin/napi-v6', place), { recursive: true });
      writeFileSync(join(folder, 'bin/napi-v6', place, 'onnxruntime_binding.node'), '12345');
    }
  };
  const left = () => places.filter((place) => existsSync(join(folder, 'bin/napi-v6', place)));
  afterAll(() => rmSync(folder, { recursive: true }));

  test('for other machines are removed, once', () => {
    make();
    expect(foreignBinaries.removeForeignBinaries(folder, 'linux', 'arm64')).toBe(15);
    expect(left()).toEqual(['linux/arm64']);
    expect(foreignBinaries.removeForeignBinaries(folder, 'linux', 'arm64')).toBe(0);
  });

  test('all stay where there are none for this machine', () => {
    make();
    expect(foreignBinaries.removeForeignBinaries(folder, 'freebsd', 'x64')).toBe(0);
    expect(left()).toEqual(places);
    expect(foreignBinaries.removeForeignBinaries(join(folder, 'absent'), 'linux', 'x64')).toBe(0);
  });
});

describe('prepare.mjs --dry-run', () => {
  const prepare = fileURLToPath(new URL('../../../device/setup/prepare.mjs', import.meta.url));

  test('tells every step that a run would take', () => {
    const { status, stdout } = spawnSync(process.execPath, [prepare, '--for', 'test', '--dry-run'], {
      encoding: 'utf8',
    });
    expect(status).toBe(0);
    for (const step of ['npm packages: ', 'native build: the addons would be', 'TypeScript: ', 'page of the console: '])
      expect(stdout).toContain(step);
  });
});

describe('prepare.mjs on a machine without tools and without apt', () => {
  const prepare = fileURLToPath(new URL('../../../device/setup/prepare.mjs', import.meta.url));
  const start = (...args: string[]) =>
    spawnSync(process.execPath, [prepare, ...args], { env: { PATH: '/nonexistent' }, encoding: 'utf8' });

  test('prints what to install, changes nothing and exits with 1', () => {
    const { status, stdout } = start('--for', 'demo');
    expect(stdout).toContain('a C++17 compiler');
    expect(stdout).toContain('Cannot install them: apt-get was not found on this machine.');
    expect(stdout).toContain('Nothing was changed.');
    expect(status).toBe(1);
  });

  test('refuses a purpose that it does not know', () => {
    const { status, stdout } = start('--for', 'fun');
    expect(stdout).toContain('Expected [--for demo|test]');
    expect(status).toBe(1);
  });
});
