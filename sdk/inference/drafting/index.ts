export { closeCallMargin } from './close-call.js';
export { Drafting, type DraftSession, type DraftSource } from './drafting.js';
