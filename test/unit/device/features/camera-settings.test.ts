import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SettingHandler } from 'scenebus/bus';
import { describe, expect, test } from 'vitest';
import { startCameraSettings } from '#device/features/camera-settings.js';
import { fakeContext, fakeModel } from '../../../support/device-fakes.js';

const cameras = [
  { id: 'front', address: 'test:moving' },
  { id: 'back', address: 'test:moving', describe: false },
];

async function start(file?: string) {
  const context = await fakeContext(fakeModel().model, { cameras });
  const bus = {
    handler: undefined as SettingHandler | undefined,
    onSetting(handler: SettingHandler) {
      bus.handler = handler;
      return () => {
        bus.handler = undefined;
      };
    },
  };
  const settings = await startCameraSettings(context, bus, file);
  const told = async () => {
    await context.hub.idle();
    return context.events.flatMap(({ kind, camera, body }) =>
      kind === 'setting' ? [`${camera} ${body.setting} ${body.value}`] : [],
    );
  };
  return { settings, bus, told };
}

describe('settings of cameras', () => {
  test('begin as the configuration says, and are told', async () => {
    const { settings, told } = await start();
    expect(await told()).toEqual([
      'front describe true',
      'front watches true',
      'front privacy false',
      'back describe false',
      'back watches true',
      'back privacy false',
    ]);
    expect(settings.isOn('front', 'describe')).toBe(true);
    expect(settings.isOn('back', 'describe')).toBe(false);
  });

  test('are switched by commands, which everybody hears of, for that camera only', async () => {
    const { settings, bus, told } = await start();
    let changes = 0;
    const stop = settings.onChange(() => changes++);
    await bus.handler!('front', 'privacy', true);
    expect((await told()).at(-1)).toBe('front privacy true');
    expect(settings.isOn('front', 'privacy')).toBe(true);
    expect(settings.isOn('back', 'privacy')).toBe(false);
    stop();
    await bus.handler!('front', 'privacy', false);
    expect(changes).toBe(1);
  });

  test.each(['nobody', '__proto__', 'constructor'])('of a camera that is not there are refused: %s', async (camera) => {
    const { bus, told } = await start();
    const before = (await told()).length;
    await expect(bus.handler!(camera, 'describe', false)).rejects.toMatchObject({ code: 'ERR_REQUEST_INVALID' });
    expect(await told()).toHaveLength(before);
  });

  test('survive a restart', async () => {
    const file = join(await mkdtemp(join(tmpdir(), 'scenebus-settings-')), 'deep', 'settings.json');
    {
      const { bus, settings } = await start(file);
      await bus.handler!('back', 'describe', true);
      await bus.handler!('front', 'privacy', true);
      await settings[Symbol.asyncDispose]();
      expect(bus.handler).toBeUndefined();
    }
    expect(JSON.parse(await readFile(file, 'utf8'))).toHaveLength(2);
    const { settings } = await start(file);
    expect(settings.isOn('back', 'describe')).toBe(true);
    expect(settings.isOn('front', 'privacy')).toBe(true);
    expect(settings.isOn('front', 'describe')).toBe(true);
  });
});
