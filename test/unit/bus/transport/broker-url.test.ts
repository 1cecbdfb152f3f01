import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseBrokerUrl, redactUrl } from '#sdk/bus/transport/broker-url.js';
import { readTlsFiles } from '#sdk/bus/transport/tls-files.js';

describe('parseBrokerUrl', () => {
  test('splits an address and hides its credentials', () => {
    const address = parseBrokerUrl('mqtts://robot:p%40ss%2Fword@broker.example:8884');
    expect(address).toMatchObject({
      protocol: 'mqtts',
      host: 'broker.example',
      port: 8884,
      username: 'robot',
      password: 'p@ss/word',
    });
    expect(address.shown).toBe('mqtts://broker.example:8884');
  });

  test('knows the default ports, IPv6 and WebSocket paths', () => {
    expect(parseBrokerUrl('mqtt://localhost').port).toBe(1883);
    expect(parseBrokerUrl('mqtts://h').port).toBe(8883);
    expect(parseBrokerUrl('mqtt://[::1]:1884')).toMatchObject({ host: '::1', port: 1884, shown: 'mqtt://[::1]:1884' });
    const socket = parseBrokerUrl('wss://h/mqtt?token=secret');
    expect(socket.path).toBe('/mqtt?token=secret');
    expect(socket.shown).not.toContain('secret');
  });

  test.each(['', 'broker:1883', 'http://h', 'mqtt://', 'mqtt://h/topic', 'mqtt://h:99999', 'mqtt://h:0', 'u:secret@h'])(
    'refuses %j without repeating it',
    (url) => {
      expect(() => parseBrokerUrl(url)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
      expect(() => parseBrokerUrl(url)).not.toThrow(/secret/);
    },
  );

  test('never shows a password, however the address is wrong', () => {
    for (const url of ['mqtt://u:secret@h/x', 'ftp://u:secret@h', 'mqtt://u:secret@:1', 'mqtt://u:se%zzcret@h/x']) {
      expect(() => parseBrokerUrl(url), url).toThrow(/^(?!.*se(%zz)?cret)/s);
    }
  });
});

describe('redactUrl', () => {
  test('removes credentials and queries from text', () => {
    expect(redactUrl('connect mqtt://u:p@h:1883 failed')).toBe('connect mqtt://***@h:1883 failed');
    expect(redactUrl('rtsp://a:b@c/d?x=1 y')).toBe('rtsp://***@c/d?*** y');
    expect(redactUrl('no address')).toBe('no address');
  });
});

describe('readTlsFiles', () => {
  test('reads PEM files and names the one that is missing', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'scenebus-tls-'));
    try {
      await writeFile(join(folder, 'ca.pem'), 'PEM');
      const files = await readTlsFiles({ caFile: join(folder, 'ca.pem') });
      expect(Buffer.from(files.ca ?? '').toString()).toBe('PEM');
      await expect(readTlsFiles({ keyFile: join(folder, 'none.pem') })).rejects.toMatchObject({
        code: 'ERR_CONFIG_INVALID',
        details: { what: 'keyFile' },
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
