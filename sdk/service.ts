/**
 * `scenebus/service`: for programs that run all day, with cameras from a configuration file, secrets that must not reach
 * a log, and a service manager that watches them. The command `scenebus` is one.
 */
export { cameraOptionsSchema, frameNotices, requireCameraAddress } from './capture/index.js';
export { notifyServiceManager } from './child/index.js';
export { type Clock, systemClock } from './core/clock.js';
export { DisposalStack } from './core/lifecycle.js';
export { naturalOrder } from './core/natural-order.js';
export { nearestName } from './core/option-names.js';
export { redact, redactDeep, registerSecret } from './core/redaction.js';
export { decodeOnlyWebPictures, glanceAt } from './image/index.js';
export { checkedAddress as requireRemoteAddress } from './model/remote/options.js';
export { createTokenStream, type Production } from './model/token-stream.js';
