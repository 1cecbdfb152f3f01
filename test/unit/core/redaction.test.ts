import { describe, expect, test } from 'vitest';
import { redactAddress, secretsOf } from '#sdk/capture/address.js';
import { SdkError, serializeError } from '#sdk/core/errors.js';
import { redact, redactDeep, redactingLogger, registerSecret } from '#sdk/core/redaction.js';

describe('a registered secret', () => {
  const secret = 'pä/ss#w?r@d"1';
  const forms = {
    'as it is': secret,
    'percent-encoded': encodeURIComponent(secret),
    'percent-encoded in lower case': encodeURIComponent(secret).toLowerCase(),
    'encoded in part': secret.replace('/', '%2F'),
    'within JSON': JSON.stringify(secret).slice(1, -1),
  };

  test.each(Object.entries(forms))('is taken out %s', (_name, form) => {
    const forget = registerSecret(secret);
    const text = redact(`before ${form} after`);
    forget();
    expect(text).toBe('before *** after');
  });

  test('is not in errors, their details, or what is logged, and is forgotten when nobody uses it any more', () => {
    const forget = [registerSecret(secret), registerSecret(secret)];
    const error = new SdkError('ERR_CAPTURE_LOST', `no ${secret}`, { details: { list: [`x${secret}`], count: 3 } });
    expect(error.message).toBe('no ***');
    expect(error.details).toEqual({ list: ['x***'], count: 3 });
    expect(serializeError(new Error(secret)).message).toBe('***');
    const lines: unknown[] = [];
    const logger = redactingLogger({ log: (...line) => lines.push(line) });
    logger.log('info', secret, { cause: new Error(secret), bytes: new Uint8Array(2) });
    expect(lines).toEqual([['info', '***', { cause: '***', bytes: new Uint8Array(2) }]]);
    forget[0]!();
    expect(redact(secret)).toBe('***');
    forget[1]!();
    expect(redact(secret)).toBe(secret);
  });

  test('that is very short is hidden as a word only', () => {
    const forget = registerSecret('ab');
    expect(redact('cable ab (ab)')).toBe('cable *** (***)');
    forget();
  });
});

describe('what looks like a secret', () => {
  test.each([
    ['rtsp://u:p@host/x', 'rtsp://***@host/x'],
    ['rtsp://u:a/b#c?d@e@host/x', 'rtsp://***@host/x'],
    ['see "http://a:b@c" and <mqtt://d:e@f>', 'see "http://***@c" and <mqtt://***@f>'],
    ['/user=admin_password=Gehe_im/77_channel=1_stream=0.sdp', '/user=***_password=***_channel=1_stream=0.sdp'],
    ['rtsp://h/usr=admin/pwd=x#y/ch1', 'rtsp://h/usr=***/pwd=***'],
    ['http://h/?token=abc&size=2', 'http://h/?token=***&size=2'],
    ['{"password":"a\\"b","x":1}', '{"password":"***","x":1}'],
    ['Authorization: Basic dXNlcjpwdw==', 'Authorization: Basic ***'],
  ])('%s', (text, shown) => {
    expect(redact(text)).toBe(shown);
  });

  test.each([
    'Write user name and password into the address: rtsp://user:password@host/…',
    `The file refers to rtsp://viewer:\${SCENEBUS_PASSWORD}@host`,
    'mail somebody@example.org',
    'Expected a JPEG, but received 3 channels = 4',
  ])('leaves alone: %s', (text) => {
    expect(redact(text)).toBe(text);
  });

  test('in values of any depth', () => {
    expect(redactDeep({ a: [{ b: 'rtsp://u:p@h' }] })).toEqual({ a: [{ b: 'rtsp://***@h' }] });
  });
});

describe('a camera address', () => {
  const secret = 'Ge/he#im?7@7';
  test.each([
    `rtsp://admin:${secret}@10.0.0.7/stream`,
    `rtsp://10.0.0.7/user=admin_password=${secret}_channel=1_stream=0.sdp`,
    `rtsp://10.0.0.7:554/usr=admin/pwd=${secret}/ch1`,
    `http://10.0.0.7/video?user=admin&pwd=${secret}`,
  ])('with / # ? @ in its password is shown without: %s', (address) => {
    expect(redactAddress(address)).not.toContain(secret);
    expect(redactAddress(address)).not.toContain('he#im');
    const forget = secretsOf(address).map(registerSecret);
    expect(redact(`FFmpeg says: cannot open ${address}`)).not.toContain(secret);
    for (const one of forget) one();
  });
});

test('a long word of a stranger is read once, not from each of its letters', () => {
  for (const word of ['x', 'a://', 'a.b+c-', 'pw=', '"pw":"', 'authorization: a ']) {
    const text = word.repeat(2 ** 20 / word.length);
    expect(redact(text).length).toBeLessThanOrEqual(2 * text.length);
  }
  const long = `${'x'.repeat(100)}rtsp://user:${'p'.repeat(1_000)}@host`;
  expect(redact(`see ${long}/a`)).toMatch(/rtsp:\/\/\*\*\*@host\/a$/);
});
