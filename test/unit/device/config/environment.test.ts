import { redact } from 'scenebus/service';
import { describe, expect, test } from 'vitest';
import { expandEnvironment } from '#device/config/environment.js';
import { parseAddress } from '#sdk/capture/address.js';

const secret = 'a/b#c?d@e:f%g';
/** `${SCENEBUS_NAME}`, written so that no linter takes it for a template. */
const reference = (name: string) => `\${SCENEBUS_${name}}`;
const environment = {
  SCENEBUS_CAMERA_PASSWORD: secret,
  SCENEBUS_USER: 'viewer',
  SCENEBUS_HOST: '10.0.0.7',
  SCENEBUS_URL: 'rtsp://x/y?z',
};
const expand = (text: string) => expandEnvironment(text, environment) as string;

describe('a password from the environment', () => {
  test('may hold any characters: in user-info it is percent-encoded', () => {
    const address = expand(`rtsp://${reference('USER')}:${reference('CAMERA_PASSWORD')}@${reference('HOST')}:554/s`);
    expect(address).toBe(`rtsp://viewer:${encodeURIComponent(secret)}@10.0.0.7:554/s`);
    expect(parseAddress(address)).toMatchObject({ kind: 'rtsp' });
    expect(decodeURIComponent(new URL(address).password)).toBe(secret);
  });

  test('ends no path: what would is encoded, the rest stays as the camera wants it', () => {
    const address = expand(`rtsp://10.0.0.7/user=admin_password=${reference('CAMERA_PASSWORD')}_channel=1.sdp`);
    expect(address).toBe('rtsp://10.0.0.7/user=admin_password=a/b%23c%3Fd@e:f%g_channel=1.sdp');
  });

  test('stays as it is elsewhere, and whole addresses do', () => {
    expect(expand(reference('CAMERA_PASSWORD'))).toBe(secret);
    expect(expand(reference('URL'))).toBe('rtsp://x/y?z');
  });

  test('is a secret from then on; a host is none', () => {
    expand(`rtsp://viewer:${reference('CAMERA_PASSWORD')}@${reference('HOST')}/s`);
    expect(redact(`x ${secret} y ${encodeURIComponent(secret)} 10.0.0.7`)).toBe('x *** y *** 10.0.0.7');
  });
});
