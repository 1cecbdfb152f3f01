import { describe, expect, test } from 'vitest';
import {
  describeBoard,
  describePair,
  powerModeAdvice,
  readJetsonBoard,
  releaseAdvice,
} from '#device/platform/jetson/board.js';
import { describeFittingModules, modulesThatFit, ORIN_MODULES } from '#device/platform/jetson/modules.js';
import { parsePowerMode } from '#device/platform/jetson/power-mode.js';
import { parseJetsonRelease } from '#device/platform/jetson/release.js';

const release = (major: number, revision: string) =>
  `# R${major} (release), REVISION: ${revision}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n`;

const nvpmodel = `< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
# < POWER_MODEL ID=9 NAME=MAXN >
< PM_CONFIG DEFAULT=1 >
`;

const board = (files: Readonly<Record<string, string>>) =>
  readJetsonBoard({ readText: async (path) => files[path] ?? null });

describe('JetPack', () => {
  test.each([
    [36, '4.0', '6.1'],
    [36, '4.3', '6.2'],
    [36, '4.4', '6.2'],
    [36, '5.0', '6.2'],
    [38, '2.0', '7.0'],
    [39, '2.0', '7.2'],
    [41, '1.0', null],
  ])('takes L4T R%s.%s', (major, revision, jetPack) => {
    expect(parseJetsonRelease(release(major, revision))).toEqual({
      l4t: `${major}.${revision}`,
      jetPack,
      problem: null,
    });
  });

  test.each([
    [32, '7.1', '4'],
    [35, '6.1', '5'],
    [36, '2.0', '6.0'],
    [36, '3.0', '6.0'],
  ])('refuses L4T R%s.%s, and says what to install', (major, revision, jetPack) => {
    const found = parseJetsonRelease(release(major, revision));
    expect(found?.jetPack).toBe(jetPack);
    expect(found?.problem).toMatch(`JetPack ${jetPack}, L4T ${major}.${revision}`);
    expect(found?.problem).toMatch(/has no int4.*Install JetPack 6\.2 or 7\.2/);
  });

  test.each(['', 'R36', '# R (release), REVISION: , GCID', 'Debian GNU/Linux 12'])(
    'knows %o for no release',
    (text) => {
      expect(parseJetsonRelease(text)).toBeNull();
    },
  );
});

describe('power mode', () => {
  test('is named, and the faster one with it', () => {
    expect(parsePowerMode('pmode:0001', nvpmodel)).toEqual({
      id: 1,
      name: '25W',
      faster: { id: 2, name: 'MAXN_SUPER' },
    });
    expect(parsePowerMode('pmode:0002 fmode:fanNull\n', nvpmodel)).toEqual({ id: 2, name: 'MAXN_SUPER', faster: null });
  });

  test('has no name without the configuration, and is nothing without a number', () => {
    expect(parsePowerMode('pmode:0003', null)).toEqual({ id: 3, name: null, faster: null });
    expect(parsePowerMode('', nvpmodel)).toBeNull();
  });
});

describe('board', () => {
  test('says what it is and what holds it back', async () => {
    const found = await board({
      '/etc/nv_tegra_release': release(36, '4.3'),
      '/proc/device-tree/model': 'NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0',
      '/var/lib/nvpmodel/status': 'pmode:0000\n',
      '/etc/nvpmodel.conf': nvpmodel,
    });
    expect(describeBoard(found!)).toBe(
      'NVIDIA Jetson Orin NX Engineering Reference Developer Kit, JetPack 6.2 (L4T 36.4.3), power mode 15W (0)',
    );
    expect(powerModeAdvice(found!)).toContain('sudo nvpmodel -m 2');
  });

  test('is described with the little that is there', async () => {
    const found = await board({ '/etc/nv_tegra_release': release(41, '1.0') });
    expect(describeBoard(found!)).toBe('Jetson, L4T 41.1.0');
    expect(powerModeAdvice(found!)).toBeUndefined();
    expect(await board({})).toBeNull();
  });
});

describe('a release', () => {
  const of = async (major: number, revision: string) =>
    (await board({ '/etc/nv_tegra_release': release(major, revision) }))!;

  test('that refuses large allocations is named, with the one to install', async () => {
    expect(releaseAdvice(await of(36, '4.7'))).toMatch(/36\.4\.7 refuses.*upgrade to 36\.5/);
    for (const revision of ['4.3', '4.4', '5.0'])
      expect(releaseAdvice(await of(36, revision)), revision).toBeUndefined();
  });

  test.each([
    [36, '4.3', '10.3.0', /^a known pair$/],
    [36, '4.3', '11.4.1', /^not a known pair: JetPack 6 stays on TensorRT 10/],
    [36, '4.3', '10.16.0', /^not a known pair: the self-test decides$/],
    [39, '2.0', '10.16.2', /^a known pair$/],
    [39, '2.0', '11.4.0', /^not a known pair: .*from TensorRT 11\.4\.1 on$/],
    [39, '2.0', '11.4.1', /^a known pair, from JetPack 7\.2\.2 on$/],
    [39, '2.0', '11.10.0', /^a known pair, from JetPack 7\.2\.2 on$/],
    [41, '1.0', '12.0.0', /^not a known pair: the self-test decides$/],
  ])('R%s.%s with TensorRT %s: %s', async (major, revision, version, said) => {
    expect(describePair(await of(major, revision), version)).toMatch(said);
  });
});

describe('modules', () => {
  const names = (bytes: number) => modulesThatFit(bytes).map(({ name }) => name);
  test('fit what they have room for', () => {
    expect(names(0)).toHaveLength(ORIN_MODULES.length);
    // The 11B at int4 is about 9.3 to 10 GB resident: 16 GB modules and larger.
    expect(names(10e9)).toEqual(['Orin NX 16 GB', 'AGX Orin 32 GB', 'AGX Orin 64 GB']);
    expect(names(24e9)).toEqual(['AGX Orin 32 GB', 'AGX Orin 64 GB']);
    expect(names(100e9)).toEqual([]);
  });

  test('are named in a sentence', () => {
    expect(describeFittingModules(10e9)).toBe('It fits Orin NX 16 GB, AGX Orin 32 GB, AGX Orin 64 GB.');
    expect(describeFittingModules(1)).toBe('It fits every Orin module.');
    expect(describeFittingModules(100e9)).toMatch(/^No Orin module has room/);
  });
});
