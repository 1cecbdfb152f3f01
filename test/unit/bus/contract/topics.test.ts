import { describe, expect, it } from 'vitest';
import { busTopics, isTopicSegment, parseTopic, responseTopicProblem, topicMatches } from '#sdk/bus/contract/topics.js';

describe('topic segments', () => {
  it.each(['cam0', 'front door', 'Küche', '摄像头', 'a.b-c_d', 'x'.repeat(64)])('accepts %j', (segment) => {
    expect(isTopicSegment(segment)).toBe(true);
  });

  it.each(['', 'a/b', '+', 'a+', '#', 'x#', '$SYS', 'a$', 'a\0b', 'a\nb', '\u0085', '\ud800', 'x'.repeat(65)])(
    'refuses %j',
    (segment) => {
      expect(isTopicSegment(segment)).toBe(false);
      expect(() => busTopics('scenebus', segment)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
      expect(() => busTopics('scenebus', 'dev').cameraScene(segment)).toThrow(/camera id/);
    },
  );
});

describe('busTopics and parseTopic', () => {
  it('parses what it builds, under a root of several levels', () => {
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

  it.each([
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

  it('refuses a root with an empty or wild level', () => {
    for (const root of ['', '/x', 'x/', 'a//b', 'a/+', '#', '$share']) {
      expect(() => busTopics(root, 'dev'), root).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT_INVALID' }));
    }
  });
});

describe('topicMatches', () => {
  it.each([
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

  it.each(['scenebus/client/7/response', 'scenebus/dev/response/ask', 'scenebus/replies'])('allows %s', (topic) => {
    expect(problem(topic)).toBeUndefined();
  });

  it.each([
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

  it('keeps device topics closed whatever is configured', () => {
    expect(problem('robots/r1/answers', ['robots/+/answers'])).toBeUndefined();
    expect(problem('scenebus/x/availability', ['#'])).toMatch(/availability/);
    expect(problem('$SYS/x', ['#', '$SYS/#'])).toMatch(/\$/);
  });
});
