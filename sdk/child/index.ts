export { connectParent, type ParentLink } from './connect-parent.js';
export { type ProcessMemory, processMemory } from './process-memory.js';
export { FIRST_DESCRIPTOR } from './protocol.js';
export { notifyServiceManager } from './service-manager.js';
export { type ChildOptions, SupervisedChild } from './supervised-child.js';
