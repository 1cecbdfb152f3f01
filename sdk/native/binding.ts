/**
 * The only door to the addons: finds them, and when it cannot, says every place it looked and what to do.
 */
import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SdkError } from '../core/errors.js';
import type { CaptureAddon, EngineAddon, LensAddon } from './addon-types.js';
import { INTERFACE_VERSION } from './interface-version.js';

export type AddonName = 'scenebus_engine' | 'scenebus_capture' | 'scenebus_lens';

interface AddonByName {
  readonly scenebus_engine: EngineAddon;
  readonly scenebus_capture: CaptureAddon;
  readonly scenebus_lens: LensAddon;
}

/** Of the addons that are left out where a library is missing. */
const ALSO_NEEDS: Readonly<Record<AddonName, string>> = {
  scenebus_engine: '',
  scenebus_capture: '; the camera part also needs OpenCV (Debian: libopencv-videoio-dev)',
  scenebus_lens:
    "; the calibration of cameras also needs OpenCV's calib3d (Debian: libopencv-calib3d-dev, and libopencv-contrib-dev for ChArUco boards)",
};

const require = createRequire(import.meta.url);
const loaded = new Map<AddonName, unknown>();

/** The folder that holds package.json: from `sdk/native`, `dist/sdk/native`, or an installed package. */
export function packageRoot(start: string = dirname(fileURLToPath(import.meta.url))): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) return start;
  }
}

/**
 * Where an addon may lie, best first: what the environment names, this tree's build, a prebuilt binary shipped
 * beside the package.
 */
export function addonCandidates(name: AddonName, root: string = packageRoot()): string[] {
  const file = `${name}.node`;
  const override = process.env.SCENEBUS_NATIVE_DIR;
  return [
    ...(override ? [resolve(override, file)] : []),
    join(root, 'native', 'build', 'native', file),
    join(root, 'native', 'build', file),
    join(root, 'prebuilds', `${process.platform}-${process.arch}`, file),
  ];
}

/**
 * One that was built for other JavaScript is none: its calls would be misunderstood.
 * @throws SdkError ERR_NATIVE_UNAVAILABLE with every attempt in `details.attempts`.
 */
export function loadAddonFrom(name: AddonName, candidates: readonly string[]): unknown {
  const attempts: { path: string; reason: string }[] = [];
  let isOutdated = false;
  for (const path of candidates) {
    if (!existsSync(path)) {
      attempts.push({ path, reason: 'does not exist' });
      continue;
    }
    try {
      const addon = require(path) as { readonly interfaceVersion?: unknown };
      if (addon.interfaceVersion === INTERFACE_VERSION) return addon;
      isOutdated = true;
      const found = addon.interfaceVersion === undefined ? 'none, as old ones do' : String(addon.interfaceVersion);
      attempts.push({ path, reason: `expected interface version ${INTERFACE_VERSION}, but it has ${found}` });
    } catch (error) {
      attempts.push({ path, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  const tried = attempts.map(({ path, reason }) => `  ${path}: ${reason}`).join('\n');
  const rebuild =
    'It was built for another version of SceneBus. Rebuild the addons: `npm run setup` in the SceneBus folder, or `npx scenebus setup` where it is installed as a package.';
  const build = `Run \`npm run build:native\` in the SceneBus folder, or \`npx scenebus setup\` where it is installed as a package${ALSO_NEEDS[name]}.`;
  throw new SdkError(
    'ERR_NATIVE_UNAVAILABLE',
    `Expected the native addon ${name}.node for ${process.platform}-${process.arch}, but none could be loaded:\n${tried}\n${isOutdated ? rebuild : build}`,
    { details: { addon: name, attempts } },
  );
}

/** Changes when the addon is rebuilt, for cached results about its contents. */
export function addonIdentity(name: AddonName): string {
  const file = addonCandidates(name).find((path) => existsSync(path));
  if (file === undefined) return 'none';
  const { size, mtimeMs } = statSync(file);
  return `${size}-${mtimeMs}`;
}

function loadAddon<N extends AddonName>(name: N): AddonByName[N] {
  let addon = loaded.get(name);
  if (addon === undefined) {
    addon = loadAddonFrom(name, addonCandidates(name));
    loaded.set(name, addon);
  }
  return addon as AddonByName[N];
}

/** Images, mapped files, the CPU engine. */
export function engineAddon(): EngineAddon {
  return loadAddon('scenebus_engine');
}

/** Cameras through OpenCV. */
export function captureAddon(): CaptureAddon {
  return loadAddon('scenebus_capture');
}

/** Calibration of cameras. */
export function lensAddon(): LensAddon {
  return loadAddon('scenebus_lens');
}
