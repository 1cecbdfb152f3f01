import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAddress, redactAddress, secretsOf } from '#sdk/capture/address.js';
import { redact, registerSecret } from '#sdk/core/redaction.js';

describe('camera addresses', () => {
  test.each([
    ['0', { kind: 'v4l2', device: '/dev/video0' }],
    ['/dev/video12', { kind: 'v4l2', device: '/dev/video12' }],
    ['v4l2:2', { kind: 'v4l2', device: '/dev/video2' }],
    [
      'v4l2:/dev/v4l/by-id/usb-046d_C920-video-index0',
      { kind: 'v4l2', device: '/dev/v4l/by-id/usb-046d_C920-video-index0' },
    ],
    ['/dev/camera_front', { kind: 'v4l2', device: '/dev/camera_front' }],
    ['v4l2:/dev/cameras/left.1', { kind: 'v4l2', device: '/dev/cameras/left.1' }],
    ['csi:1', { kind: 'csi', sensor: 1 }],
    ['rtsp://10.0.0.7/main', { kind: 'rtsp', url: 'rtsp://10.0.0.7/main' }],
    ['rtsp://admin:@10.0.0.7/main', { kind: 'rtsp', url: 'rtsp://admin:@10.0.0.7/main' }],
    ['http://admin:@10.0.0.7:81/a@b', { kind: 'http', url: 'http://admin:@10.0.0.7:81/a@b' }],
    ['rtsps://[fe80::1]:322/a?b=c', { kind: 'rtsp', url: 'rtsps://[fe80::1]:322/a?b=c' }],
    ['HTTP://cam.local/stream.mjpg', { kind: 'http', url: 'http://cam.local/stream.mjpg' }],
    ['clip.mp4', { kind: 'path', path: resolve('clip.mp4'), loop: undefined }],
    ['./odd:name?.mp4', { kind: 'path', path: resolve('odd:name?.mp4'), loop: undefined }],
    ['file:clip.mp4', { kind: 'path', path: resolve('clip.mp4'), loop: undefined }],
    ['file:clip.mp4?loop', { kind: 'path', path: resolve('clip.mp4'), loop: true }],
    ['file:clip.mp4?loop=false', { kind: 'path', path: resolve('clip.mp4'), loop: false }],
    ['file:///tmp/a%20b.mp4?loop', { kind: 'path', path: '/tmp/a b.mp4', loop: true }],
    ['test:checker', { kind: 'test', pattern: 'checker', frames: 0 }],
    ['test:hang?frames=9', { kind: 'test', pattern: 'hang', frames: 9 }],
  ])('understands %s', (address, expected) => {
    expect(parseAddress(address)).toEqual(expected);
  });

  test.each([
    [''],
    ['ftp://host/clip.mp4'],
    ['gst:videotestsrc ! appsink'],
    ['csi:9'],
    ['csi:0 ! filesink location=/etc/passwd'],
    ['/dev/video0 ! filesink location=x'],
    ['/dev/../etc/passwd'],
    ['/dev/../sda'],
    ['/dev/'],
    ['/dev/a b'],
    ['v4l2:/dev/v4l/by-id/../../sda'],
    ['rtsp://'],
    ['rtsp://a b/'],
    ['rtsp://host!fakesink/'],
    ['rtsp://host:99999/'],
    ['http://ho"st/'],
    ['clip\u0000.mp4'],
    ['rtsp://host/a\nb'],
    ['file:clip.mp4?lop'],
    ['file:'],
    ['file://otherhost/clip.mp4'],
    ['test:nothing'],
    ['test:checker?frames=-1'],
    [`rtsp://host/${'a'.repeat(5000)}`],
  ])('refuses %j and says what it expects', (address) => {
    expect(() => parseAddress(address)).toThrow(
      expect.objectContaining({
        code: 'ERR_CAPTURE_ADDRESS_INVALID',
        message: expect.stringMatching(/^Expected a camera number.*but received "/s),
      }),
    );
  });

  test.each([
    'rtsp://host/a" ! filesink location="/tmp/x',
    "rtsp://host/a' ! fakesink",
    'rtsp://host/a\\" ! fakesink name=\\"',
    'rtsp://user:p"w!x@host/a',
    'http://host/?q="!|`$(x)^{}<>ä',
  ])('lets nothing through that a pipeline reads as syntax: %s', (address) => {
    const parsed = parseAddress(address);
    expect(parsed).toHaveProperty('url', expect.stringMatching(/^[A-Za-z0-9\-._~:/?[\]@$&()*+,;=%]+$/));
  });
});

describe('secrets of an address', () => {
  const address = 'rtsp://admin:p%40ss%2Fword@cam.local/main?token=abcdef&x=1';

  test('are not shown', () => {
    expect(redactAddress(address)).toBe('rtsp://***@cam.local/main?token=***&x=***');
    expect(redactAddress('http://a:b@c@host/')).toBe('http://***@host/');
    expect(redactAddress('file:a.mp4?loop')).toBe('file:a.mp4?loop');
  });

  test('are taken out of what others write, encoded or not', () => {
    const text = `[rtsp @ 0x1] failed: ${address}; user=p@ss/word t=abcdef; http://u:v@other/`;
    const forget = secretsOf(address).map(registerSecret);
    const shown = redact(text);
    for (const one of forget) one();
    expect(shown).not.toMatch(/p@ss|p%40|abcdef|admin|u:v/);
    expect(shown).toContain('cam.local');
  });

  test('are not in the error about an address that is invalid', () => {
    for (const broken of ['rtsp://admin:s3cret@ho st/x', 'rtsp://admin:s3cret@host:0x/', 'ftp://admin:s3cret@host/']) {
      expect(() => parseAddress(broken)).toThrow(expect.not.stringContaining('s3cret'));
      try {
        parseAddress(broken);
      } catch (error) {
        expect(JSON.stringify(error) + String(error)).not.toContain('s3cret');
      }
    }
  });
});
