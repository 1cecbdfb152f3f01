/** An addon and the JavaScript beside it belong together, or say that they do not. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isSdkError } from '#sdk/core/errors.js';
import { addonCandidates, loadAddonFrom, packageRoot } from '#sdk/native/index.js';
import { INTERFACE_VERSION } from '#sdk/native/interface-version.js';
import { temporaryFolder } from '../checkpoint/checkpoint-folder.js';

/** Where the addons' exports are typed. */
const TYPED = [
  'calibration/camera/lens-addon.ts',
  'sdk/capture/frame-ring.ts',
  'sdk/capture/host/capture-addon.ts',
  'sdk/engine/cpu/addon-types.ts',
  'sdk/engine/tensorrt/addon-types.ts',
  'sdk/engine/vision/addon-types.ts',
  'sdk/native/addon-types.ts',
];
/** Of those types, without comments and space, at this version. */
const RECORDED = { version: 3, types: '8936e8f32e457475' };

const addonOf = (exported: unknown) => {
  const path = join(temporaryFolder(), 'addon.cjs');
  writeFileSync(path, `module.exports = ${JSON.stringify(exported)};\n`);
  return path;
};
const failureOf = (candidates: readonly string[]) => {
  try {
    loadAddonFrom('scenebus_engine', candidates);
  } catch (error) {
    if (isSdkError(error)) return error;
  }
  return expect.unreachable();
};

test.each([
  ['an addon of before there were versions', { forwardCpu: 1 }, 'none, as old ones do'],
  ['an older addon', { interfaceVersion: INTERFACE_VERSION - 1 }, `${INTERFACE_VERSION - 1}`],
  ['a newer addon', { interfaceVersion: INTERFACE_VERSION + 1 }, `${INTERFACE_VERSION + 1}`],
])('%s is refused, and the error says to rebuild', (_, exported, found) => {
  const path = addonOf(exported);
  const { code, message } = failureOf([path]);
  expect(code).toBe('ERR_NATIVE_UNAVAILABLE');
  expect(message).toContain(`${path}: expected interface version ${INTERFACE_VERSION}, but it has ${found}`);
  expect(message).toContain('Rebuild the addons: `npm run setup`');
});

test('behind an old addon a fitting one is taken', () => {
  const fitting = addonOf({ interfaceVersion: INTERFACE_VERSION, it: 'is this' });
  const old = addonOf({});
  expect(loadAddonFrom('scenebus_engine', [old, fitting])).toMatchObject({ it: 'is this' });
});

test.each(['scenebus_engine', 'scenebus_capture', 'scenebus_lens'] as const)('%s says its version', (name) => {
  const file = addonCandidates(name).find((path) => existsSync(path));
  if (file === undefined) return expect(name).not.toBe('scenebus_engine'); // the others need OpenCV
  expect(createRequire(import.meta.url)(file).interfaceVersion).toBe(INTERFACE_VERSION);
});

test('the version is raised when the types of what addons export change', () => {
  const root = packageRoot();
  const header = readFileSync(join(root, 'native/addon/interfaceVersion.h'), 'utf8');
  expect(Number(/kInterfaceVersion = (\d+);/.exec(header)?.[1])).toBe(INTERFACE_VERSION);
  const hash = createHash('sha256');
  for (const file of TYPED) {
    const source = readFileSync(join(root, file), 'utf8');
    hash.update(source.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '').replace(/\s+/g, ''));
  }
  const types = hash.digest('hex').slice(0, 16);
  const message =
    'Exports of an addon changed: raise INTERFACE_VERSION (sdk/native/interface-version.ts) and kInterfaceVersion (native/addon/interfaceVersion.h), then record both here.';
  expect({ version: INTERFACE_VERSION, types }, message).toEqual(RECORDED);
});
