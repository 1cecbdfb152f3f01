import { describe, expect, test } from 'vitest';
import {
  busTopics,
  isPortableSegment,
  isTopicFilter,
  isTopicSegment,
  parseTopic,
  responseTopicProblem,
  topicMatches,
} from '#sdk/bus/contract/topics.js';

describe('topic segments', () => {
  test.each(['cam0', 'front door', 'Küche', '摄像头', 'a.b-c_d', 'x'.repeat(64)])('accepts %j', (segment) => {
    expect(isTopicSegment(segment)).toBe(true);
  });

  test.each([
    '',
    '.',
    '..',
    'a/b',
    '+',
    'a+',
    '#',
    'x#',
    '$SYS',
    'a$',
    'a\0b',
    'a\nb',
    '\u0085',
    '\ud800',
    'x'.repeat(65),
  ])('refuses %j', (segment) => {
    expect(isTopicSegment(segment)).toBe(false);
    expect(() => busTopics('scenebus', segment)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
    expect(() => busTopics('scenebus', 'dev').cameraScene(segment)).toThrow(/camera id/);
  });
});

describe('busTopics and parseTopic', () => {
  test('parses what it builds, under a root of several levels', () => {
    const root = 'site/hall-2/scenebus';
    const topics = busTopics(root, 'kitchen');
    expect(topics.cameraScene('cam0')).toBe('site/hall-2/scenebus/kitchen/camera/cam0/scene');
    expect(parseTopic(root, topics.availability)).toEqual({ device: 'kitchen', kind: 'availability' });
    expect(parseTopic(root, topics.info)).toEqual({ device: 'kitchen', kind: 'info' });
    expect(parseTopic(root, topics.health)).toEqual({ device: 'kitchen', kind: 'health' });
    expect(parseTopic(root, topics.cameraScene('cam0'))).toEqual({
      device: 'kitchen',
      kind: 'camera-scene',
      camera: 'cam0',
    });
    expect(parseTopic(root, topics.cameraStatus('c'))).toEqual({
      device: 'kitchen',
      kind: 'camera-status',
      camera: 'c',
    });
    expect(parseTopic(root, topics.request('ask'))).toEqual({ device: 'kitchen', kind: 'request', verb: 'ask' });
    expect(parseTopic(root, topics.response('ask'))).toEqual({ device: 'kitchen', kind: 'response', verb: 'ask' });
    expect(topicMatches(topics.requests, topics.request('ask'))).toBe(true);
  });

  test.each([
    'other/kitchen/info',
    'scenebus',
    'scenebus/kitchen',
    'scenebus/kitchen/nothing',
    'scenebus/kitchen/info/more',
    'scenebus/kitchen/request/a/b',
    'scenebus/kitchen/camera/scene',
    'scenebus//info',
    'scenebusx/kitchen/info',
  ])('does not claim %j', (topic) => {
    expect(parseTopic('scenebus', topic)).toBeUndefined();
  });

  test('refuses a root with an empty or wild level', () => {
    for (const root of ['', '/x', 'x/', 'a//b', 'a/+', '#', '$share']) {
      expect(() => busTopics(root, 'dev'), root).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
    }
  });
});

describe('topics of cameras, watches and settings', () => {
  const topics = busTopics('scenebus', 'dev');

  test('are parsed as they are built, whatever the ids are called', () => {
    for (const id of ['cam0', 'constructor', '__proto__', 'status', 'watch', 'state', 'set', 'a b', 'a.b', '...']) {
      expect(parseTopic('scenebus', topics.cameraEvent(id))).toEqual({
        device: 'dev',
        kind: 'camera-event',
        camera: id,
      });
      expect(parseTopic('scenebus', topics.watchState(id, id))).toEqual({
        ...{ device: 'dev', kind: 'watch-state', camera: id, watch: id },
      });
      const setting = { device: 'dev', camera: id, setting: 'privacy' };
      expect(parseTopic('scenebus', topics.cameraSetting(id, 'privacy'))).toEqual({
        ...setting,
        kind: 'camera-setting',
      });
      expect(parseTopic('scenebus', topics.settingCommand(id, 'privacy'))).toEqual({
        ...setting,
        kind: 'setting-command',
      });
      expect(topicMatches(topics.settingCommands, topics.settingCommand(id, 'privacy'))).toBe(true);
    }
    expect(parseTopic('scenebus', topics.request('watch/add'))).toMatchObject({ kind: 'request', verb: 'watch/add' });
    expect(topicMatches(topics.watchRequests, topics.request('watch/add'))).toBe(true);
    expect(topicMatches(topics.requests, topics.request('watch/add'))).toBe(false);
  });

  test.each([
    'camera/c/constructor/state',
    'camera/c/privacy/state/more',
    'camera/c/watch/w',
    'camera/c/watch/w/set',
    'camera/c/watch/state',
    'camera/../status',
    'request/constructor/add',
    'request/watch/add/more',
  ])('do not claim %s', (rest) => {
    expect(parseTopic('scenebus', `scenebus/dev/${rest}`)).toBeUndefined();
  });

  test('of different ids are different, and none is a topic of the device itself', () => {
    const ids = ['a', 'b', 'watch', 'status', 'privacy', 'state', 'availability', 'request', 'camera'];
    const all = ids.flatMap((id) => [
      topics.cameraStatus(id),
      topics.cameraScene(id),
      topics.cameraEvent(id),
      topics.cameraSetting(id, 'privacy'),
      topics.settingCommand(id, 'privacy'),
      ...ids.map((watch) => topics.watchState(id, watch)),
    ]);
    const own = [topics.availability, topics.info, topics.health, topics.request('ask'), topics.response('ask')];
    expect(new Set([...all, ...own]).size).toBe(all.length + own.length);
  });
});

describe('isTopicFilter', () => {
  test.each([
    ['robots/+/answers', true],
    ['#', true],
    ['a/#', true],
    ['+', true],
    ['a', true],
    ['', false],
    ['a/#/b', false],
    ['a+/b', false],
    ['a#', false],
    ['a\0', false],
  ])('%j: %s', (filter, expected) => {
    expect(isTopicFilter(filter)).toBe(expected);
  });
});

describe('isPortableSegment', () => {
  test.each(['kiosk-3', 'Küche_2', '摄像头'])('takes %j', (name) => expect(isPortableSegment(name)).toBe(true));
  test.each(['kiosk.local', 'front door', 'a*', 'a>', 'a/b', ''])('does not take %j', (name) => {
    expect(isPortableSegment(name)).toBe(false);
  });
});

describe('topicMatches', () => {
  test.each([
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['a/+/c', 'a/b/c', true],
    ['a/+', 'a/b/c', false],
    ['a/+/c', 'a/b', false],
    ['a', 'a/b', false],
    ['#', '$SYS/x', false],
    ['+/x', '$SYS/x', false],
    ['$SYS/#', '$SYS/x', true],
    ['a/b', 'a/b', true],
  ] as const)('%s against %s is %s', (filter, topic, expected) => {
    expect(topicMatches(filter, topic)).toBe(expected);
  });
});

describe('responseTopicProblem', () => {
  const problem = (topic: string, allowed = ['scenebus/#']) => responseTopicProblem(topic, 'scenebus', allowed);

  test.each(['scenebus/client/7/response', 'scenebus/dev/response/ask', 'scenebus/replies'])('allows %s', (topic) => {
    expect(problem(topic)).toBeUndefined();
  });

  test.each([
    ['$SYS/broker', /\$/],
    ['$share/x', /\$/],
    ['scenebus/+/x', /wildcard/],
    ['scenebus/#', /wildcard/],
    ['scenebus/a\0b', /control/],
    ['', /empty/],
    ['elsewhere/x', /outside/],
    ['scenebus/dev/request/ask', /request/],
    ['scenebus/other/request/ask', /request/],
    ['scenebus/dev/availability', /availability/],
    ['scenebus/dev/camera/cam/scene', /camera/],
    ['scenebus/dev/info', /info/],
  ])('refuses %j', (topic, why) => {
    expect(problem(topic)).toMatch(why);
  });

  test('keeps device topics closed whatever is configured', () => {
    expect(problem('robots/r1/answers', ['robots/+/answers'])).toBeUndefined();
    expect(problem('scenebus/x/availability', ['#'])).toMatch(/availability/);
    expect(problem('$SYS/x', ['#', '$SYS/#'])).toMatch(/\$/);
  });
});
